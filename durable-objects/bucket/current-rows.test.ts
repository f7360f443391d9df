import { describe, expect, test } from 'vitest'
import { testDatabase } from '../test-database.ts'
import { currentRows, ROWS_LIMITS, type RowsLimits } from './current-rows.ts'
import { Log } from './log.ts'
import { splitOps } from '../../protocol/op-text.ts'
import { page, put, remove } from './test-ops.ts'
import type { Page } from './storage.ts'

const limits = (rows: number, others: Partial<RowsLimits> = {}): RowsLimits => ({ ...ROWS_LIMITS, rows, ...others })

/** A log of one op after the other, ten to a page. */
function logOf(ops: readonly ReturnType<typeof put>[]): Log {
  const log = new Log(testDatabase(), { extendedBytes: 1 })
  for (let at = 0; at < ops.length; at += 10)
    log.append({ v: 1, committed: 0, ...page(at + 1, ...ops.slice(at, at + 10)) } as never)
  return log
}

const rowsOf = (log: Log, checkpoint: number, limit: number) => log.rows(checkpoint, limit)

describe('I8: rows of a lookup are read as far as they are allowed to be', () => {
  test('the same as without a limit, each text once, at every checkpoint', () => {
    const ops = Array.from({ length: 95 }, (_, i) =>
      i % 7 === 3 ? remove(`r${i % 5}`) : put(`r${i % 11}`, `"${i % 6}"`),
    )
    const log = logOf(ops)
    for (let checkpoint = 0; checkpoint <= 96; checkpoint++) {
      const all = log.rows(checkpoint)
      const some = rowsOf(log, checkpoint, 100)
      expect(all.kind).toBe('rows')
      expect(some).toEqual({ kind: 'rows', rows: all.kind === 'rows' ? [...new Set(all.rows)].sort() : [] })
    }
  })

  test('many equal rows are one; one text too many is `many`', () => {
    const log = logOf(Array.from({ length: 300 }, (_, i) => put(`r${i}`, `"${i % 3}"`)))
    expect(rowsOf(log, 300, 3)).toEqual({ kind: 'rows', rows: ['"0"', '"1"', '"2"'] })
    expect(rowsOf(log, 300, 2)).toEqual({ kind: 'many' })
  })

  test('rows that are gone do not count, however many there were', () => {
    const gone = Array.from({ length: 500 }, (_, i) => [put(`r${i}`, `"${i}"`), remove(`r${i}`)]).flat()
    expect(rowsOf(logOf([...gone, put('last', '"last"')]), 2_000, 1)).toEqual({ kind: 'rows', rows: ['"last"'] })
  })

  test('the reading stops where it is too much', () => {
    let pages = 0
    function* endless(): Iterable<Page> {
      for (let id = 1_000; id > 0; id -= 10) {
        pages++
        const { body, ...rest } = page(
          id - 9,
          ...Array.from({ length: 10 }, (_, i) => put(`r${id - i}`, `"${id - i}"`)),
        )
        expect(splitOps(body)).toHaveLength(10)
        yield { ...rest, body, target: 0, totalBytes: 0, bytes: 0 }
      }
    }
    expect(currentRows(endless, 1_000, limits(25))).toBeNull()
    expect(pages).toBe(3)
  })

  test('keys that are too many at a time are looked at in shares; too many shares are `many`', () => {
    const ops = Array.from({ length: 200 }, (_, i) => put(`row ${i}`, `"${i % 4}"`))
    const log = logOf(ops)
    let passes = 0
    const pages = () => {
      passes++
      return log.pagesBefore(200)
    }
    expect(currentRows(pages, 200, limits(10, { keysLength: 2_000 }))?.sort()).toEqual(['"0"', '"1"', '"2"', '"3"'])
    expect(passes).toBeGreaterThan(3)
    expect(currentRows(pages, 200, limits(10, { keysLength: 200 }))).toBeNull()
  })

  test('long texts count by their length', () => {
    const log = logOf([put('a', `"${'x'.repeat(600)}"`), put('b', `"${'y'.repeat(600)}"`)])
    expect(currentRows(() => log.pagesBefore(2), 2, limits(10, { length: 1_000 }))).toBeNull()
    expect(currentRows(() => log.pagesBefore(2), 2, limits(10, { length: 1_300 }))).toHaveLength(2)
  })
})
