import { expect, test } from 'vitest'
import { waitsForStandby } from './standbys.ts'

test.each([
  ['', null],
  ['replica1, replica2', null],
  ['*', "'*'"],
  ['"*"', "'*'"],
  ['a, *', "'*'"],
  ['FIRST 1 (*)', "'*'"],
  ['any 2 (a, "*", b)', "'*'"],
  ['2(a,b)', null],
  ['Rockpool-1', "'Rockpool-1'"],
  ['ANY 1 (a, "rockpool-1")', "'rockpool-1'"],
  ['rockpool-10, "my, rockpool-1"', null],
  ['"first", any', null],
])('synchronous_standby_names = %s', (names, found) => {
  expect(waitsForStandby(names, 'rockpool-1')).toBe(found)
})
