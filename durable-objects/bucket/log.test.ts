import { describe, expect, test } from 'vitest'
import { addChecksums } from '../../protocol/checksum.ts'
import type { RowOp } from '../../protocol/ops.ts'
import { testDatabase } from '../test-database.ts'
import { Log } from './log.ts'
import { opIdOf, splitOps } from '../../protocol/op-text.ts'
import { page, put, remove } from './test-ops.ts'

/** What the same log says when every op is looked at. */
function naive(ops: readonly RowOp[], checkpoint: number) {
  const upTo = ops.slice(0, checkpoint)
  return {
    count: upTo.length,
    checksum: upTo.reduce((sum, op) => addChecksums(sum, op.checksum), 0),
    last: upTo.length,
  }
}

describe('the log of a bucket', () => {
  test('I3: state, read and rows are exact at every checkpoint, also inside a page', () => {
    const ops: RowOp[] = []
    for (let n = 0; n < 60; n++)
      ops.push(
        n % 5 === 4
          ? remove(`r${n % 7}`)
          : put(`r${n % 7}`, JSON.stringify({ id: `r${n % 7}`, n, text: '},{"op_id":"1' })),
      )
    const log = new Log(testDatabase())
    for (let at = 0, size = 1; at < ops.length; at += size++) log.append(page(at + 1, ...ops.slice(at, at + size)))
    for (let checkpoint = 0; checkpoint <= ops.length + 2; checkpoint++) {
      const c = Math.min(checkpoint, ops.length)
      expect(log.state(checkpoint)).toEqual(naive(ops, c))
      const rows = new Map<string, string>()
      for (const op of ops.slice(0, c)) {
        if (op.data === null) rows.delete(op.objectId)
        else rows.set(op.objectId, op.data)
      }
      const ordered = [...rows].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, data]) => data)
      expect(log.rows(checkpoint)).toEqual({ kind: 'rows', rows: ordered })
      for (const after of [0, 1, 7, 30, checkpoint]) {
        const ids: number[] = []
        for (let position = after; ;) {
          const part = log.read(position, checkpoint, 500)
          if (part.kind !== 'ops') throw new Error(part.kind)
          ids.push(...splitOps(part.body).map(opIdOf))
          expect(part.count).toBe(splitOps(part.body).length)
          position = part.last
          if (!part.more) break
        }
        expect(ids).toEqual(ops.map((_, i) => i + 1).filter((id) => id > after && id <= checkpoint))
      }
    }
  })

  test('an append that comes again changes nothing and is answered as the first time, also when more has come since', () => {
    const log = new Log(testDatabase())
    const first = page(1, put('a', '{"id":"a"}'), put('b', '{"id":"b"}'))
    const second = page(5, remove('a'))
    const answer = log.append(first)
    log.append(second)
    expect(log.append(first)).toEqual(answer)
    expect(log.append(second)).toEqual(log.state(5))
    expect(log.state(100).count).toBe(3)
  })

  test('a page that would be too large for a stored value is cut between ops', () => {
    const db = testDatabase()
    const log = new Log(db)
    const ops = Array.from({ length: 20 }, (_, i) =>
      put(`r${i}`, JSON.stringify({ id: `r${i}`, x: 'y'.repeat(100_000) })),
    )
    expect(log.append(page(1, ...ops))).toEqual(naive(ops, 20))
    const pages = db.all('SELECT bytes FROM pages')
    expect(pages.length).toBeGreaterThan(2)
    for (const { bytes } of pages) expect(Number(bytes)).toBeLessThan(1_000_000)
    for (const c of [1, 6, 13, 20]) expect(new Log(db).state(c)).toEqual(naive(ops, c))
  })

  test('nobody creates storage by asking', () => {
    const db = testDatabase()
    const log = new Log(db)
    expect(log.state(5)).toEqual({ count: 0, checksum: 0, last: 0 })
    expect(log.read(0, 5, 100)).toEqual({ kind: 'ops', body: '', count: 0, last: 0, more: false })
    expect(log.rows(5)).toEqual({ kind: 'rows', rows: [] })
    expect(db.all('SELECT name FROM sqlite_master')).toEqual([])
  })

  test('an append is one row written, also when it makes the newest page longer', () => {
    const db = testDatabase()
    const log = new Log(db)
    log.append(page(1, put('a', '{"id":"a"}')))
    const written = () => Number(db.all('SELECT total_changes() AS n')[0]?.n)
    let was = false
    for (let n = 2; n < 200; n++) {
      const before = written()
      log.append(page(n, put(`r${n}`, JSON.stringify({ id: `r${n}`, text: 'x'.repeat(n * 10) }))))
      // Once it is noted that of a log longer than a page nobody knows whether something is superseded.
      const noted: boolean = db.all('SELECT 1 FROM pages').length > 1 && !was
      was ||= noted
      expect(written() - before).toBe(noted ? 2 : 1)
    }
    // 199 appends of 0.1 to 2 kB in pages of up to 16 kB.
    const pages = db.all('SELECT bytes, length(CAST(body AS BLOB)) AS length FROM pages')
    expect(pages.length).toBeLessThan(20)
    for (const { bytes, length } of pages) expect(bytes).toBe(length)
  })

  test('I2, I3: state, read and rows stand while a batch that is not committed, and slices of a huge transaction, are in the log behind it', () => {
    const db = testDatabase()
    const log = new Log(db)
    log.append({ ...page(1, put('a', '{"n":1}'), put('b', '{"n":2}')), committed: 0 })
    const answers = (each: Log) => ({
      state: each.stateAt(4),
      read: each.read(0, 4, 1_000),
      rest: each.read(1, 4, 1_000),
      rows: each.rows(4),
    })
    const before = answers(log)
    expect(before.rows).toEqual({ kind: 'rows', rows: ['{"n":1}', '{"n":2}'] })
    // A batch that is waiting for another bucket; 4 was committed before it.
    log.append({ ...page(5, put('a', '{"n":5}'), remove('b')), committed: 4 })
    expect(answers(log)).toEqual(before)
    // Slices: small ones that share a page with what is committed, and large ones.
    for (let id = 7, slice = 0; slice < 6; slice++, id += 40) {
      const ops = Array.from({ length: 40 }, (_, i) =>
        put(i % 2 === 0 ? 'a' : `s${slice}`, JSON.stringify({ id, x: 'x'.repeat(slice * 300) })),
      )
      log.append({ ...page(id, ...ops), committed: 4 })
      expect(answers(log)).toEqual(before)
    }
    // Compaction leaves alone what is not committed, and what only something not committed supersedes.
    while (log.compact() !== null);
    expect(answers(log)).toEqual(before)
    expect(answers(new Log(db))).toEqual(before)
  })
})
