import { expect, test } from 'vitest'
import { testDatabase } from '../test-database.ts'
import { Log } from './log.ts'
import { page, put, randomOf, remove } from './test-ops.ts'
import { isUnique } from './unique.ts'

/** A log with one op of each row, by ids from 1 on. */
function logOf(ids: readonly string[]): Log {
  const log = new Log(testDatabase(), { extendedBytes: 1 })
  for (let at = 0; at < ids.length; at += 500)
    log.append({ ...page(at + 1, ...ids.slice(at, at + 500).map((id) => put(id, '{}'))), committed: 0 })
  return log
}

test('two ops of one row are met wherever they stand, also where one takes it away, and only up to the checkpoint', () => {
  const log = logOf(['a', 'b', 'c'])
  log.append({ ...page(4, put('d', '{}')), committed: 0 })
  log.append({ ...page(5, remove('b')), committed: 0 })
  expect(isUnique(log.pagesBefore(4), 4, 100)).toBe(true)
  expect(isUnique(log.pagesBefore(5), 5, 100)).toBe(false)
})

test('rows with names that are like each other are different ones', () => {
  const random = randomOf(1)
  const ids = new Set<string>()
  for (let n = 0; ids.size < 200_000; n++)
    ids.add(n % 3 === 0 ? String(n) : `${'é'.repeat(n % 5)}${Math.floor(random() * 1e12).toString(36)}`)
  const log = logOf([...ids])
  expect(isUnique(log.pagesBefore(ids.size), ids.size, ids.size)).toBe(true)
  expect(isUnique(log.pagesBefore(ids.size), ids.size, ids.size - 1), 'more than it may').toBe(false)
})
