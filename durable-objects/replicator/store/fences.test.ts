import { expect, test } from 'vitest'
import { Log } from '../../bucket/log.ts'
import { page, put } from '../../bucket/test-ops.ts'
import { migrate } from '../../shared/database.ts'
import { testDatabase } from '../../test-database.ts'
import type { Append } from '../ingest/batch.ts'
import { Fences } from './fences.ts'
import { probeOf } from '../commit/probe.ts'
import { MIGRATIONS, StateStore } from './storage.ts'

function stored(most?: number) {
  const db = testDatabase()
  migrate(db, MIGRATIONS)
  return { db, open: () => new Fences(new StateStore(db), most) }
}
const fence = (bucket: number, served = 5) => ({ bucket, since: 'now', barrier: 9, served })

test('a bucket is fenced when it was silent for the limit, and again when it falls silent while it is compared', () => {
  const { open } = stored()
  const fences = open()
  expect([999, 1_000].map((ms) => fences.isDue(1, ms, 1_000))).toEqual([false, true])
  fences.begin(fence(1))
  fences.answered(1)
  expect([fences.isSilent(1), fences.isDue(1, 1_000, 1_000)]).toEqual([false, true])
  // It was announced last before the first time.
  fences.begin({ bucket: 1, since: 'later', barrier: 20, served: 15 })
  expect(fences.all).toEqual([{ bucket: 1, since: 'now', barrier: 20, served: 5, answers: false }])
})

test('fences are limited: when very many buckets are silent the cause is elsewhere, and commits wait', () => {
  const fences = stored(2).open()
  for (const bucket of [1, 2]) fences.begin(fence(bucket))
  expect(fences.isDue(3, 1_000, 1_000)).toBe(false)
  // One of those that are fenced may fall silent again.
  fences.answered(2)
  expect(fences.isDue(2, 1_000, 1_000)).toBe(true)
  fences.end([1])
  expect(fences.isDue(3, 1_000, 1_000)).toBe(true)
})

test('fences are stored, and only ops of silent buckets are dropped', () => {
  const { open } = stored()
  const append: Append = { first: 1, last: 1, count: 1, checksum: 0, texts: ['op'] }
  const appends = new Map([1, 2, 3].map((bucket) => [bucket, append]))
  const fences = open()
  expect(fences.sendable(appends)).toBe(appends)
  for (const bucket of [1, 2]) fences.begin(fence(bucket))
  fences.answered(2)
  const again = open()
  expect([...again.sendable(appends).keys()]).toEqual([2, 3])
  expect([again.silent, again.answering]).toEqual([[1], [2]])
  again.silenced([2], 30)
  expect([again.silent, again.of(2)?.barrier]).toEqual([[1, 2], 30])
  again.end([1, 2])
  expect(open().all).toEqual([])
})

test('after the answer to a probe no earlier append has an effect, whether it had arrived or not', () => {
  const sent = page(7, put('1', 'a'), put('2', 'b'))
  const missed = new Log(testDatabase())
  missed.append(page(3, put('1', 'old')))
  missed.append(probeOf({ barrier: 8, served: 3 }))
  const before = missed.state(100)
  expect(before).toMatchObject({ count: 2, last: 8 })
  missed.append(sent)
  expect(missed.state(100)).toEqual(before)
  expect(missed.rows(100)).toEqual({ kind: 'rows', rows: ['old'] })
  const had = new Log(testDatabase())
  had.append(sent)
  const told = had.state(100)
  had.append(probeOf({ barrier: 8, served: 3 }))
  expect(had.state(100)).toEqual(told)
})

test('a start removes the fence of a bucket that older code has dropped', () => {
  const { open } = stored()
  const fences = open()
  for (const bucket of [1, 2]) fences.begin(fence(bucket))
  const again = open()
  again.keepOnly((bucket) => bucket === 2)
  for (const each of [again, open()]) expect(each.all.map(({ bucket }) => bucket)).toEqual([2])
})
