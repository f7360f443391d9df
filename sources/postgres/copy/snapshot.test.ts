import { expect, test } from 'vitest'
import { formatLsn, parseLsn } from '../stream/lsn.ts'
import { isVisible, parseSnapshot, passesBarrier, widenXid } from './snapshot.ts'

test('LSNs compare as numbers and print as Postgres prints them', () => {
  expect(parseLsn('9/0') < parseLsn('10/0')).toBe(true)
  expect(parseLsn('16/B374D848')).toBe(0x16b374d848n)
  for (const text of ['0/0', '16/B374D848', 'FFFFFFFF/FFFFFFFF', '1/A']) expect(formatLsn(parseLsn(text))).toBe(text)
  expect(() => parseLsn('16-B3')).toThrow('not an LSN')
})

test('a snapshot sees transactions below xmax that are not in progress', () => {
  const snapshot = parseSnapshot('100:110:100,105')
  expect([99n, 100n, 104n, 105n, 109n, 110n].map((xid) => isVisible(snapshot, xid))).toEqual([
    true,
    false,
    true,
    false,
    true,
    false,
  ])
  expect(parseSnapshot('77422:77422:').xip.size).toBe(0)
  expect(() => parseSnapshot('1:2')).toThrow('not a snapshot')
})

test('xids are widened on both sides of a wrap', () => {
  const epoch = 6n << 32n
  expect(widenXid(5, epoch + 3n)).toBe(epoch + 5n)
  expect(widenXid(0xfffffff0, epoch + 3n)).toBe(epoch - 16n)
  expect(widenXid(2, epoch - 2n)).toBe(epoch + 2n)
})

test('the barrier holds until every writer open at the start has ended', () => {
  const start = parseSnapshot('100:110:100')
  expect(passesBarrier(start, parseSnapshot('100:150:100'))).toBe(false)
  expect(passesBarrier(start, parseSnapshot('109:150:109'))).toBe(false)
  expect(passesBarrier(start, parseSnapshot('110:150:'))).toBe(true)
})
