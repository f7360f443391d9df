import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { BucketState } from '../../../protocol/messages/bucket.ts'
import { page, put } from '../../bucket/test-ops.ts'
import { Dispatcher } from './dispatcher.ts'

const CALL_MS = 1_000
const SENT = { ...page(1, put('a', '{}')), bucket: 1, length: 2 }

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'], now: 0 }))
afterEach(() => void vi.useRealTimers())

const pass = (milliseconds: number) => vi.advanceTimersByTimeAsync(milliseconds)

/** Buckets that answer at once, unless they hang or throw. */
function world(parallel: number, awake = 0) {
  const behaviour = new Map<string, 'hangs' | 'throws'>()
  const called: { name: string; at: number }[] = []
  const send = (name: string): Promise<BucketState> => {
    called.push({ name, at: Date.now() })
    if (behaviour.get(name) === 'throws') return Promise.reject(new Error('moved'))
    return behaviour.get(name) === 'hangs' ? new Promise(() => {}) : Promise.resolve({ count: 1, checksum: 1, last: 1 })
  }
  const dispatcher = new Dispatcher({ send, deadlineMs: CALL_MS, failed: () => {} })
  dispatcher.parallel = parallel
  dispatcher.awake = awake
  const done = new Map<string, { at: number; answered: boolean }>()
  const append = (name: string, fenceMs = Infinity) => {
    let wanted = true
    const unanswered = (ms: number) => void (wanted &&= ms < fenceMs)
    const sending = { committed: () => 0, wanted: () => wanted, unanswered }
    void dispatcher
      .append(name, { ...SENT, body: () => SENT.body }, sending)
      .then((state) => done.set(name, { at: Date.now(), answered: state !== null }))
  }
  return { behaviour, called, done, append }
}

const many = (prefix: string, n: number) => Array.from({ length: n }, (_, i) => `${prefix}${i}`)

test('late buckets use a few slots of their own: the others wait at most for their first calls', async () => {
  const silent = many('silent', 80)
  const healthy = many('healthy', 100)
  const w = world(32)
  for (const name of silent) w.behaviour.set(name, 'hangs')
  for (const name of [...silent, ...healthy]) w.append(name)
  await pass(2_900)
  // Three times as long as a call: 32 and 32 and 16 of them had their first turn.
  expect(healthy.every((name) => (w.done.get(name)?.at ?? Infinity) <= 2 * CALL_MS + 200)).toBe(true)
  w.called.length = 0
  await pass(20_000)
  // A quarter of the slots, one after the other in the order in which they fell silent.
  expect(w.called.length).toBeGreaterThan(8 * 18)
  expect(w.called.length).toBeLessThanOrEqual(8 * 21)
  const turns = silent.map((name) => w.called.filter((call) => call.name === name).length)
  expect([Math.max(...turns) - Math.min(...turns) <= 1, Math.min(...turns) >= 1]).toEqual([true, true])
  // They answer: each is told so.
  w.behaviour.clear()
  await pass(30_000)
  expect([...w.done.values()].filter(({ answered }) => answered)).toHaveLength(180)
})

test('a bucket that fails at once is tried again among the healthy ones, however many are silent', async () => {
  const silent = many('silent', 64)
  const w = world(32)
  for (const name of silent) w.behaviour.set(name, 'hangs')
  for (const name of silent) w.append(name)
  await pass(3_000)
  w.behaviour.set('moved', 'throws')
  w.append('moved')
  await pass(1_000)
  w.behaviour.delete('moved')
  await pass(2_000)
  expect(w.done.get('moved')).toMatchObject({ answered: true })
})

test('silence counts from the first call, also while a bucket waits for its turn: all are given up together', async () => {
  const silent = many('silent', 100)
  const w = world(32)
  for (const name of silent) w.behaviour.set(name, 'hangs')
  for (const name of silent) w.append(name, 20_000)
  await pass(19_000)
  expect(w.done.size).toBe(0)
  // The last ones were called first after three calls of others.
  await pass(1_000 + 3 * CALL_MS + 2 * CALL_MS)
  expect([...w.done.values()].filter(({ answered }) => !answered)).toHaveLength(100)
})

test('silent buckets do not use up the limit of awake objects', async () => {
  const silent = many('silent', 20)
  const healthy = many('healthy', 20)
  const w = world(32, 4)
  for (const name of silent) w.behaviour.set(name, 'hangs')
  for (const name of silent) w.append(name)
  // Each has had its first call, four at a time, and has slept.
  await pass(120_000)
  for (const name of healthy) w.append(name)
  await pass(80_000)
  expect(healthy.filter((name) => w.done.get(name)?.answered)).toEqual(healthy)
})
