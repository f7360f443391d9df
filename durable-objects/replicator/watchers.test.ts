import { expect, test } from 'vitest'
import type { PublishAnswer, Serving } from '../../protocol/messages.ts'
import { hashName } from '../../protocol/names.ts'
import { migrate } from '../database.ts'
import { testDatabase } from '../test-database.ts'
import { MIGRATIONS } from './storage.ts'
import { Watchers } from './watchers.ts'

/** Calls wait until the test answers them. */
function setting() {
  const db = testDatabase()
  migrate(db, MIGRATIONS)
  const calls: { bucket: string; checkpoint: number; resolve: (answer: PublishAnswer) => void; reject: (error: Error) => void }[] = []
  const serving: Serving = { checkpoint: 1, plan: 'p' }
  let serial = 0
  const start = () =>
    new Watchers({
      ...{ db, nextSerial: () => ++serial, serving: () => ({ ...serving }), pause: async () => {} },
      publish: (bucket, { checkpoint }) =>
        new Promise<PublishAnswer>((resolve, reject) => calls.push({ bucket, checkpoint, resolve, reject })),
    })
  const turn = () => new Promise((resolve) => setImmediate(resolve))
  const answer = async (none: boolean) => {
    calls.shift()?.resolve({ none })
    await turn()
  }
  const stored = () => db.all('SELECT bucket FROM watchers').map((row) => row.bucket)
  return { start, calls, serving, answer, turn, stored }
}

test('a bucket that is watched is told of the commits that touch it, and no other', async () => {
  const { start, calls, serving, answer } = setting()
  const watchers = start()
  expect(watchers.watch('a')).toEqual({ checkpoint: 1, plan: 'p' })
  watchers.watch('b')
  serving.checkpoint = 5
  watchers.committed(['a', 'c'])
  expect(calls.map(({ bucket, checkpoint }) => [bucket, checkpoint])).toEqual([['a', 5]])
  await answer(false)
  expect(calls).toEqual([])
})

test('one call at a time for a bucket: what is committed meanwhile is told by one more, and a call that fails is made again', async () => {
  const { start, calls, serving, answer, turn } = setting()
  const watchers = start()
  watchers.watch('a')
  for (serving.checkpoint = 2; serving.checkpoint < 9; serving.checkpoint++) watchers.committed(['a'])
  expect(calls.map(({ checkpoint }) => checkpoint)).toEqual([2])
  calls.shift()?.reject(new Error('lost'))
  await turn()
  expect(calls.map(({ checkpoint }) => checkpoint)).toEqual([9])
  watchers.committed(['a'])
  await answer(false)
  expect(calls.map(({ checkpoint }) => checkpoint)).toEqual([9])
  await answer(false)
  expect(calls).toEqual([])
})

test('a crash between a commit and its publication: whoever starts publishes to all', async () => {
  const { start, calls, serving, answer } = setting()
  const first = start()
  first.watch('a')
  first.watch('b')
  serving.checkpoint = 7
  const second = start()
  expect(second.size).toBe(2)
  second.publishAll()
  expect(calls.map(({ bucket, checkpoint }) => [bucket, checkpoint])).toEqual([
    ['a', 7],
    ['b', 7],
  ])
  await answer(false)
  await answer(false)
})

test('a bucket that nobody follows is forgotten, unless somebody has come since it was asked', async () => {
  const { start, calls, answer, stored } = setting()
  const watchers = start()
  watchers.watch('a')
  watchers.publishAll()
  watchers.watch('a')
  await answer(true)
  expect(stored()).toEqual(['a'])
  watchers.publishAll()
  await answer(true)
  expect(stored()).toEqual([])
  expect(watchers.size).toBe(0)
  watchers.committed(['a'])
  expect(calls).toEqual([])
  expect(start().size).toBe(0)
})

test('buckets are told apart by their names, also two with one old hash: each is told of its own commits', async () => {
  const [alice, mallory] = ['abcdef0123456789abcdef0123456789.a1b2c3#mine|0["alice"]', 'mailbox.a1b2c3#["mallory","蛺徘嚂黧귂油͔ṑ"]']
  expect(hashName(mallory)).toBe(hashName(alice))
  const { start, calls } = setting()
  const watchers = start()
  watchers.watch(alice)
  watchers.watch(mallory)
  watchers.committed([alice])
  expect(calls.map(({ bucket }) => bucket)).toEqual([alice])
  watchers.committed([mallory])
  expect(calls.map(({ bucket }) => bucket)).toEqual([alice, mallory])
})
