import { expect, test } from 'vitest'
import { migrate, type Database } from '../../shared/database.ts'
import { testDatabase } from '../../test-database.ts'
import { Batch } from '../ingest/batch.ts'
import { Buckets } from './buckets.ts'
import { MIGRATIONS } from './storage.ts'

/** More than the cache of names holds. */
const MANY = 25_000

function newBuckets(): { buckets: Buckets; db: Database } {
  const db = testDatabase()
  migrate(db, MIGRATIONS)
  return { buckets: new Buckets(db), db }
}

test(`a batch of ${MANY} new buckets and one that all rows share: each name has one number, and is stored once`, () => {
  const { buckets, db } = newBuckets()
  const batch = new Batch(0, {
    evaluate: (_table, row) => ({
      rows: ['shared', `own of ${String(row.id)}`].map((bucket) => {
        return { bucket, definition: 'd', objectType: 'u', objectId: String(row.id), data: '{}' }
      }),
      errors: [],
    }),
    states: () => new Map(),
    number: (bucket, definition) => buckets.number(bucket, definition),
    skipped: () => {},
  })
  const table = { number: 1, schema: 'public', name: 'u' }
  for (let n = 1; n < MANY; n++) batch.upsert(table, `["${n}"]`, { id: n }, null)
  expect(batch.appends.size).toBe(MANY)
  expect(
    [...batch.appends.keys()].map((number) => buckets.name(number)).filter((name) => name === 'shared'),
  ).toHaveLength(1)
  buckets.save()
  expect(db.all('SELECT count(*) AS n, count(DISTINCT name) AS names FROM buckets')).toEqual([{ n: MANY, names: MANY }])
  for (const number of [1, 2, MANY]) expect(new Buckets(db).name(number)).toBe(buckets.name(number))
  // Only once: they are stored now.
  buckets.save()
  expect(buckets.number('shared', 'd')).toBe(1)
})

test('names of a batch that is not stored are found by the next one', () => {
  const { buckets, db } = newBuckets()
  const number = buckets.number('a', 'd')
  for (let n = 0; n < MANY; n++) buckets.number(`b${n}`, 'd')
  expect(buckets.number('a', 'd')).toBe(number)
  buckets.save()
  expect(new Buckets(db).number('a', 'd')).toBe(number)
})

test('forgotten names of any length are new when they return', () => {
  const { buckets, db } = newBuckets()
  const long = (n: number) => `${n} ${'x'.repeat(1_000)}`
  const numbers = Array.from({ length: 6_000 }, (_, n) => buckets.number(long(n), 'd'))
  buckets.save()
  // More than is kept in memory: looked up.
  expect(numbers.map((number) => buckets.name(number))).toEqual(numbers.map((_, n) => long(n)))
  buckets.forget([{ number: 1, name: long(0) }])
  expect(() => buckets.name(1)).toThrow('there is no bucket 1')
  expect(buckets.number(long(0), 'd')).toBe(numbers.length + 1)
  buckets.save()
  expect(new Buckets(db).number(long(0), 'd')).toBe(numbers.length + 1)
})

test('a number is not reused after its bucket was deleted, also in another incarnation: a verification may have passed it', () => {
  const { buckets, db } = newBuckets()
  for (const name of ['a', 'b', 'c']) buckets.number(name, 'd')
  buckets.save()
  const written = () => Number(db.all('SELECT total_changes() AS n')[0]?.n)
  buckets.forget([{ number: 2, name: 'b' }])
  const before = written()
  buckets.forget([{ number: 3, name: 'c' }])
  // It was noted with the first one.
  expect(written() - before).toBe(1)
  const again = new Buckets(db)
  expect(again.last).toBe(3)
  expect(again.number('e', 'd')).toBe(4)
})

test('the record of a bucket to which older code gave the number of a deleted one stays', () => {
  const { buckets, db } = newBuckets()
  const gone = { number: buckets.number('gone', 'd'), name: 'gone' }
  buckets.save()
  // As code of before numbers were remembered does it: the highest one is free again when its bucket goes.
  db.run('DELETE FROM buckets')
  db.run("INSERT INTO buckets VALUES (?, 'new', 'd', 0)", gone.number)
  const later = new Buckets(db)
  later.forget([gone])
  expect([later.has(gone.number), new Buckets(db).name(gone.number)]).toEqual([true, 'new'])
})

test('the number of buckets is counted once, and maintained from then on', () => {
  const { buckets, db } = newBuckets()
  const add = (name: string) => buckets.number(name, 'd')
  add('a')
  add('b')
  buckets.save()
  expect(buckets.count).toBe(2)
  add('c')
  expect(buckets.count).toBe(2)
  buckets.save()
  expect(buckets.count).toBe(3)
  // Not by what somebody else has done to the table.
  db.run('DELETE FROM buckets WHERE name = ?', 'c')
  expect(buckets.count).toBe(3)
  buckets.forget([{ number: 1, name: 'a' }])
  expect(buckets.count).toBe(1)
})
