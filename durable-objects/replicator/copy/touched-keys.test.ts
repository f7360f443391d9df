import { expect, test } from 'vitest'
import { parseSnapshot } from '../../../sources/postgres/index.ts'
import { viewOf } from '../../../sources/postgres/copy/table-reader.ts'
import { TouchedKeys } from './touched-keys.ts'

const viewAt = (snapshot: string) => viewOf(parseSnapshot(snapshot))

test('keys of delivered transactions count until a snapshot sees them, with the copies that came and went', () => {
  const touched = new TouchedKeys(10)
  touched.begin(100n)
  touched.touch(1, 'a', 1)
  touched.touch(1, 'a', 1)
  touched.touch(2, 'b', -1)
  touched.begin(105n)
  touched.touch(1, 'a', -1)
  touched.touch(1, 'c', 1)
  const before = viewAt('100:100:')
  expect(touched.invisible(before, 1)).toEqual({
    keys: new Map([
      ['a', 1],
      ['c', 1],
    ]),
    all: false,
  })
  expect(touched.invisible(before, 2)).toEqual({ keys: new Map([['b', -1]]), all: false })
  // 100 has ended and 105 runs.
  const between = viewAt('105:110:105')
  expect(touched.invisible(between, 1).keys).toEqual(
    new Map([
      ['a', -1],
      ['c', 1],
    ]),
  )
  touched.forgetVisible(between)
  expect(touched.size).toBe(2)
  expect(touched.invisible(viewAt('110:110:'), 1)).toEqual({ keys: new Map(), all: false })
})

test('too many keys, and a TRUNCATE, are remembered as the whole table', () => {
  const touched = new TouchedKeys(2)
  touched.begin(100n)
  for (const key of ['a', 'b', 'c']) touched.touch(1, key, 1)
  touched.touchAll(2)
  touched.touch(2, 'x', 1)
  const snapshot = viewAt('90:95:')
  expect(touched.invisible(snapshot, 1).all).toBe(true)
  expect(touched.invisible(snapshot, 2).all).toBe(true)
  expect(touched.invisible(snapshot, 3).all).toBe(false)
  expect(touched.size).toBe(2)
})

test('keys and transactions that are remembered have a bound: those of the largest table become all of it, in the end everything does', () => {
  const touched = new TouchedKeys(100, { most: 20 })
  const before = viewAt('100:100:')
  for (let xid = 100n; xid < 103n; xid++) {
    touched.begin(xid)
    for (let n = 0; n < 5; n++) touched.touch(1, `${xid} ${n}`, 1)
    touched.touch(2, `${xid}`, 1)
  }
  expect(touched.invisible(before, 1)).toEqual({ keys: new Map(), all: true })
  expect([...touched.invisible(before, 2).keys.keys()]).toEqual(['100', '101', '102'])
  // Only what has touched it: the next transaction is known again.
  touched.begin(103n)
  touched.touch(1, 'x', 1)
  expect(touched.invisible(viewAt('103:103:'), 1)).toEqual({ keys: new Map([['x', 1]]), all: false })
  for (let xid = 104n; xid < 140n; xid++) touched.begin(xid)
  expect(touched.size).toBeLessThan(20)
  // Nothing is known of the older ones, whatever the table, until all of them are seen.
  expect(touched.invisible(viewAt('110:120:110'), 3).all).toBe(true)
  const after = viewAt('140:140:')
  expect(touched.invisible(after, 3).all).toBe(false)
  touched.forgetVisible(after)
  expect([touched.size, touched.invisible(before, 1).all]).toEqual([0, false])
})

test('of a table whose keys are not wanted it is remembered that it was touched', () => {
  const wanted = new Set([1])
  const touched = new TouchedKeys(100, { wanted: (table) => wanted.has(table) })
  touched.begin(100n)
  touched.touch(1, 'a', 1)
  touched.touch(2, 'b', 1)
  wanted.add(2)
  touched.begin(101n)
  touched.touch(2, 'c', 1)
  const before = viewAt('100:100:')
  expect([
    touched.invisible(before, 1).all,
    touched.invisible(before, 2).all,
    touched.invisible(before, 3).all,
  ]).toEqual([false, true, false])
  expect(touched.invisible(viewAt('101:102:101'), 2)).toEqual({ keys: new Map([['c', 1]]), all: false })
})
