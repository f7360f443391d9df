import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { CLOCK } from '../../shared/clock.ts'
import { untilAnswered } from '../../shared/retry.ts'
import { testDatabase } from '../../test-database.ts'
import { Store } from '../store/store.ts'
import { Fencing } from './fencing.ts'

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'], now: 0 }))
afterEach(() => void vi.useRealTimers())

const pass = (milliseconds: number) => vi.advanceTimersByTimeAsync(milliseconds)

/** Fences of bucket 1, whose probes are answered when the test says so. */
function world() {
  const store = new Store(testDatabase(), {
    reset: (error) => {
      throw error
    },
  })
  const { state, fences } = store
  store.atomically(() => {
    store.buckets.number('b1', 'd')
    store.buckets.save()
    state.set('commit', { ...state.get('commit'), committed: 5, plan: 'p' })
  })
  const probes: { barrier: number; answer: () => void }[] = []
  const voided: number[] = []
  const w = { answers: false }
  const fencing = new Fencing({
    store,
    comparison: { running: false, lacksAgain: (bucket) => void voided.push(bucket), compareBuckets: () => {} },
    watchers: { missed: () => {} },
    clock: CLOCK,
    append: (_bucket, { last }) =>
      new Promise<void>((answer) => {
        probes.push({ barrier: last, answer })
        if (w.answers) answer()
      }),
    untilAnswered: (call, retry) => untilAnswered(call, { ...retry, deadlineMs: 100 }),
    touched: () => {},
  })
  /** `counter`: what is stored goes up to there. */
  const stored = (counter: number) => state.set('decode', { counter, position: null, partial: null })
  const begin = (counter: number) => {
    stored(counter)
    fencing.begin({ bucket: 1 }, 600_000)
  }
  return Object.assign(w, { fences, fencing, probes, begin, stored, voided })
}

test('appends in flight to a bucket that did not answer its comparison are dropped after the limit, so that nobody waits for them', async () => {
  const w = world()
  w.begin(10)
  w.probes[0]?.answer()
  await pass(10)
  expect(w.fences.answering).toEqual([1])
  w.fencing.compared([1], 'silent')
  expect([w.fences.silent, w.fences.isDue(1, 600_000, 600_000)]).toEqual([[1], true])
})

test('the answer to an earlier probe says nothing about later appends', async () => {
  const w = world()
  w.begin(10)
  w.probes[0]?.answer()
  await pass(10)
  w.fencing.compared([1], 'silent')
  expect(w.probes.map(({ barrier }) => barrier)).toEqual([10, 10])
  w.begin(20)
  w.probes[1]?.answer()
  await pass(10)
  expect(w.fences.silent).toEqual([1])
  await pass(3_000)
  expect([w.fences.silent, w.probes.at(-1)?.barrier]).toEqual([[1], 20])
  w.answers = true
  await pass(90_000)
  expect([w.fences.answering, w.voided]).toEqual([[1], [1, 1]])
})

test('a bucket that did not answer its comparison is probed above everything sent until then, which may arrive late, after a restart', async () => {
  const w = world()
  w.begin(10)
  w.probes[0]?.answer()
  await pass(10)
  w.stored(20)
  w.fencing.compared([1], 'silent')
  expect([w.probes.at(-1)?.barrier, w.fences.of(1)?.barrier]).toEqual([20, 20])
})
