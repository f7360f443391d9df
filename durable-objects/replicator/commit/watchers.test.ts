import { describe, expect, test } from 'vitest'
import type { PublishAnswer } from '../../../protocol/messages/bucket.ts'
import type { Serving } from '../../../protocol/messages/replicator.ts'
import { frameName, hashName } from '../../../protocol/names.ts'
import { migrate } from '../../shared/database.ts'
import { testDatabase } from '../../test-database.ts'
import { MIGRATIONS, type State } from '../store/storage.ts'
import { Watchers } from './watchers.ts'

/** Calls wait until the test answers them. */
function setting() {
  const db = testDatabase()
  migrate(db, MIGRATIONS)
  const calls: {
    bucket: string
    checkpoint: number
    resolve: (answer: PublishAnswer) => void
    reject: (error: Error) => void
  }[] = []
  const serving: Serving = { checkpoint: 1, plan: 'p' }
  const fenced = new Set<string>()
  let serial = 0
  const paused = {
    hold: false,
    waiting: [] as (() => void)[],
    release: () => {
      for (const go of paused.waiting.splice(0)) go()
    },
  }
  const start = () =>
    new Watchers({
      db,
      nextSerial: () => ++serial,
      serving: () => ({ ...serving }),
      fenced: (bucket: string) => fenced.has(bucket),
      pause: () => (paused.hold ? new Promise((resolve) => paused.waiting.push(resolve)) : Promise.resolve()),
      publish: (bucket, { checkpoint }) =>
        new Promise<PublishAnswer>((resolve, reject) => calls.push({ bucket, checkpoint, resolve, reject })),
    })
  const turn = () => new Promise((resolve) => setImmediate(resolve))
  const answer = async (none: boolean) => {
    calls.shift()?.resolve({ none })
    await turn()
  }
  const stored = () => db.all('SELECT bucket FROM watchers').map((row) => row.bucket)
  return { start, calls, serving, fenced, answer, turn, stored, paused }
}

test('a followed bucket is notified of the commits that touch it, and of no others', async () => {
  const { start, calls, serving, answer } = setting()
  const watchers = start()
  expect(watchers.watch('a')).toEqual({ checkpoint: 1, plan: 'p' })
  watchers.watch('b')
  serving.checkpoint = 5
  watchers.committed(['a', 'c'], serving)
  expect(calls.map(({ bucket, checkpoint }) => [bucket, checkpoint])).toEqual([['a', 5]])
  await answer(false)
  expect(calls).toEqual([])
})

test('one call at a time for a bucket: commits meanwhile lead to one more call, and a failed call is repeated', async () => {
  const { start, calls, serving, answer, turn } = setting()
  const watchers = start()
  watchers.watch('a')
  for (serving.checkpoint = 2; serving.checkpoint < 9; serving.checkpoint++) watchers.committed(['a'], serving)
  expect(calls.map(({ checkpoint }) => checkpoint)).toEqual([2])
  calls.shift()?.reject(new Error('lost'))
  await turn()
  expect(calls.map(({ checkpoint }) => checkpoint)).toEqual([9])
  watchers.committed(['a'], serving)
  await answer(false)
  expect(calls.map(({ checkpoint }) => checkpoint)).toEqual([9])
  await answer(false)
  expect(calls).toEqual([])
})

const notice = (previous: number, ...buckets: string[]): State['commit']['named'] => ({
  previous,
  parts: buckets.map((bucket) => JSON.stringify({ type: 'notice', buckets: [[frameName(bucket), 1, 1, 1, null]] })),
})

describe('a start', () => {
  const long = 'x'.repeat(600)
  function restarted() {
    const s = setting()
    const before = s.start()
    for (const bucket of ['a', 'b', long]) before.watch(bucket)
    s.serving.checkpoint = 7
    const resume = (published: Serving | null, named: State['commit']['named']) => {
      s.calls.length = 0
      s.start().resume({ published, named })
      return s.calls.map(({ bucket, checkpoint }) => [bucket, checkpoint])
    }
    return { ...s, resume }
  }

  test('notifies nobody when all have been notified', () => {
    expect(restarted().resume({ checkpoint: 7, plan: 'p' }, notice(5, 'a'))).toEqual([])
  })

  test('notifies the buckets of the last commit when all had been notified of the one before: a crash was between a commit and its publication', () => {
    const { resume } = restarted()
    expect(resume({ checkpoint: 5, plan: 'p' }, notice(5, 'c', long, 'a'))).toEqual([
      ['a', 7],
      [long, 7],
    ])
    expect(resume({ checkpoint: 5, plan: 'p' }, notice(5, 'c'))).toEqual([])
  })

  test.each<[string, Serving | null, State['commit']['named']]>([
    ['more than the last commit was not told', { checkpoint: 4, plan: 'p' }, notice(5, 'a')],
    ['the last commit was too large to be remembered', { checkpoint: 5, plan: 'p' }, null],
    ['another plan serves', { checkpoint: 7, plan: 'q' }, notice(5, 'a')],
    ['an older version has stored it', null, notice(5, 'a')],
  ])('notifies all when %s', (_, published, named) => {
    expect(restarted().resume(published, named)).toHaveLength(3)
  })
})

test('all are notified of a commit when no bucket waits, is being notified, or has not answered', async () => {
  const { start, calls, serving, answer, turn } = setting()
  const watchers = start()
  expect(watchers.notifiedTo).toBeNull()
  const at = (checkpoint: number): Serving => ({ checkpoint, plan: 'p' })
  watchers.watch('a')
  watchers.committed(['b'], at(2))
  expect(watchers.notifiedTo).toEqual(at(2))
  serving.checkpoint = 3
  watchers.committed(['a'], at(3))
  watchers.committed(['b'], at(4))
  expect(watchers.notifiedTo).toEqual(at(2))
  calls.shift()?.reject(new Error('lost'))
  await turn()
  expect(watchers.notifiedTo).toEqual(at(2))
  await answer(false)
  expect(watchers.notifiedTo).toEqual(at(4))
})

test('of very many buckets 100 are notified at a time, and silent ones delay nobody', async () => {
  const { start, calls, serving, turn, paused } = setting()
  const watchers = start()
  const count = 1_050
  for (let i = 0; i < count; i++) watchers.watch(`b${i}`)
  paused.hold = true
  watchers.committed(null, serving)
  const told: string[] = []
  let most = 0
  for (let round = 0; calls.length > 0; round++) {
    most = Math.max(most, calls.length)
    const page = calls.splice(0)
    // The first hundred never answer.
    for (const { bucket, resolve, reject } of page) {
      if (round === 0) reject(new Error('silent'))
      else {
        told.push(bucket)
        resolve({ none: false })
      }
    }
    await turn()
  }
  expect([most, told.length, new Set(told).size]).toEqual([100, count - 100, count - 100])
  expect(watchers.notifiedTo).toBeNull()
  paused.release()
  await turn()
  expect(calls).toHaveLength(100)
})

test('a bucket that nobody follows is forgotten, unless a stream was opened since it was asked', async () => {
  const { start, calls, serving, answer, stored } = setting()
  const watchers = start()
  watchers.watch('a')
  watchers.publishAll()
  watchers.watch('a')
  await answer(true)
  expect(stored()).toEqual(['a'])
  // Its last stream has gone, or so it thought.
  watchers.left('a')
  await answer(false)
  expect(stored()).toEqual(['a'])
  watchers.left('a')
  watchers.left('another')
  await answer(true)
  expect(stored()).toEqual([])
  expect(watchers.size).toBe(0)
  watchers.committed(['a'], serving)
  expect(calls).toEqual([])
  expect(start().size).toBe(0)
})

test('buckets are distinguished by name, also two with the same old hash: each is notified of its own commits', async () => {
  const [alice, mallory] = [
    'abcdef0123456789abcdef0123456789.a1b2c3#mine|0["alice"]',
    'mailbox.a1b2c3#["mallory","蛺徘嚂黧귂油͔ṑ"]',
  ]
  expect(hashName(mallory)).toBe(hashName(alice))
  const { start, calls, serving } = setting()
  const watchers = start()
  watchers.watch(alice)
  watchers.watch(mallory)
  watchers.committed([alice], serving)
  expect(calls.map(({ bucket }) => bucket)).toEqual([alice])
  watchers.committed([mallory], serving)
  expect(calls.map(({ bucket }) => bucket)).toEqual([alice, mallory])
})

test('a bucket that lacks ops is not notified until it has them', async () => {
  const { start, calls, serving, fenced, answer, turn } = setting()
  const watchers = start()
  for (const bucket of ['a', 'b']) watchers.watch(bucket)
  fenced.add('a')
  serving.checkpoint = 5
  watchers.committed(['a', 'b'], serving)
  expect(calls.map(({ bucket }) => bucket)).toEqual(['b'])
  // Also when it is fenced while it is being told.
  fenced.add('b')
  calls.shift()?.reject(new Error('lost'))
  await turn()
  watchers.publishAll()
  expect(calls).toEqual([])
  fenced.clear()
  watchers.publishAll()
  expect(calls.map(({ bucket, checkpoint }) => [bucket, checkpoint])).toEqual([
    ['a', 5],
    ['b', 5],
  ])
  await answer(false)
  await answer(false)
})

test('a bucket that lacked ops is notified like the others once it has them, also after a crash in between', async () => {
  const { start, calls, serving, fenced, answer } = setting()
  const watchers = start()
  watchers.watch('a')
  fenced.add('a')
  serving.checkpoint = 5
  watchers.committed(['a'], { ...serving })
  expect(watchers.notifiedTo).toEqual(serving)
  fenced.clear()
  watchers.missed()
  expect(watchers.notifiedTo).toBeNull()
  const again = start()
  again.resume({ published: null, named: null })
  expect(calls.map(({ bucket, checkpoint }) => [bucket, checkpoint])).toEqual([['a', 5]])
  await answer(false)
  expect(again.notifiedTo).toEqual(serving)
})

test('commits from before it had them count as notified only after its turn', async () => {
  const { start, calls, serving, fenced, answer } = setting()
  const watchers = start()
  watchers.watch('a')
  fenced.add('a')
  serving.checkpoint = 5
  const earlier = { ...serving }
  fenced.clear()
  watchers.missed()
  // It became durable later than the end of the fence was stored, and a crash now would find it.
  watchers.committed([], earlier)
  expect(watchers.notifiedTo).toBeNull()
  watchers.publishAll()
  expect([watchers.notifiedTo, calls.length]).toEqual([null, 1])
  await answer(false)
  expect(watchers.notifiedTo).toEqual(earlier)
})
