import { describe, expect, test } from 'vitest'
import { addChecksums } from '../../protocol/checksum.ts'
import { putChecksum, removeChecksum } from '../../protocol/op-checksum.ts'
import { opText, type RowOp } from '../../protocol/ops.ts'
import { testDatabase } from '../test-database.ts'
import { Log, STATEMENTS } from './log.ts'
import { opIdOf, splitOps } from './ops.ts'

const put = (id: string, data: string): RowOp => ({
  op: 'PUT',
  objectType: 't',
  objectId: id,
  subkey: id,
  checksum: putChecksum('t', id, data),
  data,
})
const remove = (id: string): RowOp => ({
  op: 'REMOVE',
  objectType: 't',
  objectId: id,
  subkey: id,
  checksum: removeChecksum(id),
  data: null,
})

function page(first: number, ...ops: RowOp[]) {
  const texts = ops.map((op, i) => opText(first + i, op))
  const checksum = ops.reduce((sum, op) => addChecksums(sum, op.checksum), 0)
  return { first, last: first + ops.length - 1, count: ops.length, checksum, body: texts.join(',') }
}

/** What the same log says when every op is looked at. */
function naive(ops: readonly RowOp[], checkpoint: number) {
  const upTo = ops.slice(0, checkpoint)
  return { count: upTo.length, checksum: upTo.reduce((sum, op) => addChecksums(sum, op.checksum), 0), last: upTo.length }
}

describe('the log of a bucket', () => {
  test('I3: state, read and rows are exact at every checkpoint, also inside a page', () => {
    const ops: RowOp[] = []
    for (let n = 0; n < 60; n++)
      ops.push(n % 5 === 4 ? remove(`r${n % 7}`) : put(`r${n % 7}`, JSON.stringify({ id: `r${n % 7}`, n, text: '},{"op_id":"1' })))
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
      expect(log.rows(checkpoint).rows).toEqual([...rows].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, data]) => data))
      for (const after of [0, 1, 7, 30, checkpoint]) {
        const ids: number[] = []
        for (let position = after; ;) {
          const part = log.read(position, checkpoint, 500)
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
    const ops = Array.from({ length: 20 }, (_, i) => put(`r${i}`, JSON.stringify({ id: `r${i}`, x: 'y'.repeat(100_000) })))
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

  test('an append of a page is one row written, and no statement scans', () => {
    const db = testDatabase()
    const log = new Log(db)
    log.append(page(1, put('a', '{"id":"a"}')))
    const before = Number(db.all('SELECT total_changes() AS n')[0]?.n)
    log.append(page(2, put('b', '{"id":"b"}'), put('c', '{"id":"c"}')))
    expect(Number(db.all('SELECT total_changes() AS n')[0]?.n) - before).toBe(1)
    for (const sql of [STATEMENTS.before, STATEMENTS.across, STATEMENTS.after])
      expect(db.plan(sql)).toMatch(/^SEARCH pages USING INTEGER PRIMARY KEY/)
  })

  test('after compaction a checkpoint is answered exactly or not at all', () => {
    const db = testDatabase()
    const log = new Log(db)
    log.append(page(1, put('a', '{"v":1}'), put('a', '{"v":2}')))
    log.append(page(3, put('b', '{"v":3}')))
    log.append(page(4, put('a', '{"v":4}'), put('c', '{"v":5}')))
    for (const checkpoint of [0, 1, 2, 3, 4, 5]) expect(log.overtaken(checkpoint)).toBe(false)
    const exact = log.state(4)
    const rows = log.rows(5)
    // Op 1 gives way to 2, which gives way to 4: a CLEAR of the run up to 2, for which checkpoints below 4 are overtaken.
    const checksum = log.state(2).checksum
    const clear = `{"op_id":"2","op":"CLEAR","checksum":${checksum}}`
    db.run('UPDATE pages SET count = 1, max_target_op = 4, total_count = 1, body = ? WHERE last_op = 2', clear)
    db.run('UPDATE pages SET total_count = total_count - 1 WHERE last_op > 2')
    db.run('UPDATE pages SET total_max_target_op = 4 WHERE last_op >= ?', 2)
    const compacted = new Log(db)
    expect([0, 1, 2, 3, 4, 5].map((checkpoint) => compacted.overtaken(checkpoint))).toEqual([false, true, true, true, false, false])
    expect(compacted.state(4)).toEqual({ ...exact, count: exact.count - 1 })
    expect(compacted.rows(5)).toEqual(rows)
    expect(splitOps(compacted.read(1, 4, 10_000).body).map(opIdOf)).toEqual([2, 3, 4])
    // What comes later does not forget it.
    compacted.append(page(6, remove('b')))
    expect(new Log(db).overtaken(3)).toBe(true)
    expect(new Log(db).overtaken(4)).toBe(false)
  })
})
