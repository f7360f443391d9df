import { expect, test } from 'vitest'
import { TouchedKeys } from './copy-rules.ts'
import { parseSnapshot } from './snapshot.ts'

test('keys of delivered transactions count until a snapshot sees them, with the copies that came and went', () => {
  const touched = new TouchedKeys(10)
  touched.begin(100n)
  touched.touch(1, 'a', 1)
  touched.touch(1, 'a', 1)
  touched.touch(2, 'b', -1)
  touched.begin(105n)
  touched.touch(1, 'a', -1)
  touched.touch(1, 'c', 1)
  const before = parseSnapshot('100:100:')
  expect(touched.invisible(before, 1)).toEqual({
    keys: new Map([
      ['a', 1],
      ['c', 1],
    ]),
    all: false,
  })
  expect(touched.invisible(before, 2)).toEqual({ keys: new Map([['b', -1]]), all: false })
  // 100 has ended and 105 runs.
  const between = parseSnapshot('105:110:105')
  expect(touched.invisible(between, 1).keys).toEqual(
    new Map([
      ['a', -1],
      ['c', 1],
    ]),
  )
  touched.forgetVisible(between)
  expect(touched.size).toBe(2)
  expect(touched.invisible(parseSnapshot('110:110:'), 1)).toEqual({ keys: new Map(), all: false })
})

test('too many keys, and a TRUNCATE, are remembered as the whole table', () => {
  const touched = new TouchedKeys(2)
  touched.begin(100n)
  for (const key of ['a', 'b', 'c']) touched.touch(1, key, 1)
  touched.touchAll(2)
  touched.touch(2, 'x', 1)
  const snapshot = parseSnapshot('90:95:')
  expect(touched.invisible(snapshot, 1).all).toBe(true)
  expect(touched.invisible(snapshot, 2).all).toBe(true)
  expect(touched.invisible(snapshot, 3).all).toBe(false)
  expect(touched.size).toBe(2)
})
