import { describe, expect, test } from 'vitest'
import { Digester, noRows, rowKey, type RowsSum } from '../../protocol/digest.ts'
import { strongHash } from '../../protocol/strong-hash.ts'
import type { DigestAnswer, DigestRequest } from '../../protocol/messages/bucket.ts'
import { testDatabase } from '../test-database.ts'
import { Digest } from './digest.ts'
import { Log } from './log.ts'
import { page, put, randomOf, remove, Replica } from './test-ops.ts'
import { Pages } from './storage.ts'

const KEY = 'a key'
const digester = new Digester(KEY)
const request = (checkpoint: number, more: Partial<DigestRequest> = {}): DigestRequest => ({
  v: 1,
  checkpoint,
  part: 0,
  parts: 1,
  split: 1,
  list: false,
  pass: 0,
  key: KEY,
  ...more,
})

type Answered = Extract<DigestAnswer, { kind: 'digest' }>

/** A log with every kind of op, and what a client of it holds. */
function made(ops: number, seed = 1): { log: Log; pages: Pages; rows: Map<string, string> } {
  const random = randomOf(seed)
  const db = testDatabase()
  const log = new Log(db, { extendedBytes: 200, afterBytes: 1, pageBytes: 2_000 })
  const rows = new Map<string, string>()
  for (let id = 1; id <= ops; id++) {
    const row = `r${Math.floor(random() * 40)}`
    const gone = rows.has(row) && random() < 0.3
    const data = JSON.stringify({ id: row, n: id })
    log.append({ ...page(id, gone ? remove(row) : put(row, data)), committed: id - 1 })
    if (gone) rows.delete(row)
    else rows.set(row, data)
  }
  return { log, pages: new Pages(db), rows }
}

function sumOf(rows: ReadonlyMap<string, string>, within: (key: string) => boolean): RowsSum {
  const sum = noRows()
  for (const [id, data] of rows) {
    const key = rowKey('t', id, id)
    if (within(key)) digester.addRow(sum, key, strongHash(data), 1)
  }
  return sum
}

function asked(log: Log, wanted: DigestRequest): Answered {
  const answer = log.digest(wanted)
  if (answer.kind !== 'digest') throw new Error(answer.kind)
  return answer
}

describe('the digest of a bucket', () => {
  test('sums of the whole and of its parts are those of the rows that a client holds, before and after compaction', () => {
    const { log, rows } = made(300)
    for (const compacted of [false, true]) {
      if (compacted) while (log.compact() !== null);
      const { sums, announced, summed } = asked(log, request(300))
      expect(sums).toEqual([sumOf(rows, () => true)])
      expect(summed).toEqual(announced)
      const parts = asked(log, request(300, { split: 4 })).sums
      for (const [sub, sum] of parts.entries())
        expect(sum).toEqual(sumOf(rows, (key) => digester.subpartOf(key, { part: 0, parts: 1 }, 4) === sub))
      const one = asked(log, request(300, { part: 2, parts: 4, list: true }))
      expect(one.sums[0]).toEqual(parts[2])
      expect(one.rows).toHaveLength(parts[2]?.rows ?? -1)
    }
  })

  test('I8: passes that remember few rows add up to the same', () => {
    const { log, pages, rows } = made(300)
    const sources = {
      overtaken: (checkpoint: number) => log.overtaken(checkpoint),
      state: (checkpoint: number) => log.state(checkpoint),
      pageAfter: (op: number) => pages.after(op),
    }
    let total = 0
    let passes = 1
    for (let pass = 0; pass < passes; pass++) {
      const digest = new Digest(sources, request(300, { pass }), 50)
      let answer = digest.step(500)
      // In steps, too.
      expect(answer.kind).toBe('more')
      while (answer.kind === 'more') answer = digest.step(500)
      if (answer.kind !== 'digest') throw new Error(answer.kind)
      passes = answer.passes
      total += answer.sums[0]?.rows ?? 0
    }
    expect([passes, total]).toEqual([6, rows.size])
  })

  test('compaction between two steps changes nothing, or the checkpoint is overtaken', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const { log, pages, rows } = made(200, seed)
      const digest = new Digest(
        { overtaken: (c) => log.overtaken(c), state: (c) => log.state(c), pageAfter: (op) => pages.after(op) },
        request(200),
      )
      let answer = digest.step(1)
      while (answer.kind === 'more') {
        log.compact()
        answer = digest.step(1)
      }
      if (answer.kind !== 'digest') throw new Error(answer.kind)
      expect(answer.sums).toEqual([sumOf(rows, () => true)])
      expect(answer.summed.checksum).toBe(answer.announced.checksum)
    }
  })

  test('of an older checkpoint it is exact, or overtaken', () => {
    const { log } = made(200)
    const before = asked(log, request(120))
    expect(before.announced.last).toBe(120)
    while (log.compact() !== null);
    expect(log.digest(request(120)).kind).toBe('overtaken')
  })
})

describe('mending', () => {
  const damaged = (sql: string) => {
    const db = testDatabase()
    const log = new Log(db, { extendedBytes: 500 })
    const rows = new Replica()
    for (let id = 1; id <= 40; id++) {
      const ops = page(id, put(`r${id}`, JSON.stringify({ id: `r${id}` })))
      log.append(ops)
      rows.apply(ops.body, id)
    }
    db.run(sql)
    return { log: new Log(db), rows, db }
  }
  const fits = (log: Log) => {
    const { announced, summed } = asked(log, request(40))
    return JSON.stringify(announced) === JSON.stringify(summed)
  }

  test('ops that are lost: what is announced stays, so clients that have them keep them', () => {
    const { log, rows } = damaged(
      `UPDATE pages SET body = substr(body, instr(body, '},{') + 2) WHERE count > 1 AND last_op < 20`,
    )
    expect(fits(log)).toBe(false)
    log.mend()
    expect(fits(log)).toBe(true)
    expect(log.state(40).checksum).toBe(rows.checksum)
  })

  test('totals that are wrong: they are what the ops add up to again', () => {
    const { log, rows } = damaged(
      'UPDATE pages SET total_checksum = 7 WHERE last_op = (SELECT max(last_op) FROM pages)',
    )
    expect(fits(log)).toBe(false)
    log.mend()
    expect(fits(log)).toBe(true)
    expect(log.state(40)).toEqual({ count: 40, checksum: rows.checksum, last: 40 })
  })

  const WRONG = 'UPDATE pages SET total_checksum = total_checksum + 7 WHERE last_op > 11'
  /** Of one page each, at most so many. */
  const steps = (log: Log, between: (step: number) => Log = () => log): { log: Log; steps: number } => {
    let each = log
    for (let n = 1; n < 1_000; n++) {
      if (!each.mend(1)) return { log: each, steps: n }
      each = between(n)
    }
    throw new Error('it does not end')
  }

  test('it is done in steps of at least a page; appends may come between them, to the newest page as well', () => {
    const { log, rows, db } = damaged(WRONG)
    const pages = db.all('SELECT 1 FROM pages').length
    let id = 40
    const done = steps(log, () => {
      if (id < 46) {
        const ops = page(++id, put(`r${id}`, JSON.stringify({ id: `r${id}` })))
        log.append(ops)
        rows.apply(ops.body, id)
      }
      return log
    })
    expect(done.steps).toBeGreaterThanOrEqual(pages)
    expect(log.state(id)).toEqual({ count: id, checksum: rows.checksum, last: id })
    const { announced, summed } = asked(log, request(id))
    expect(announced).toEqual(summed)
  })

  test('an object that dies in the middle begins again, and has nothing to write as far as it had come', () => {
    const { log, rows, db } = damaged(WRONG)
    const count = steps(log, (n) => (n === 4 ? new Log(db) : log)).steps
    expect(count).toBeGreaterThan(5)
    const again = new Log(db)
    expect(again.state(40)).toEqual({ count: 40, checksum: rows.checksum, last: 40 })
    const before = Number(db.all('SELECT total_changes() AS n')[0]?.n)
    steps(again)
    expect(Number(db.all('SELECT total_changes() AS n')[0]?.n)).toBe(before)
  })

  test('compaction waits while it is under way, for a minute; where it comes in between, mending begins again', () => {
    let now = 1_000
    const { rows, db } = damaged(WRONG)
    const log = new Log(db, { afterBytes: 1, pageBytes: 2_000 }, () => now)
    log.raise(40)
    expect(log.mending).toBe(false)
    const { steps: count } = steps(log, (n) => {
      expect(log.mending).toBe(true)
      if (n === 5) {
        now += 60_000
        expect(log.mending).toBe(false)
        log.compact()
      }
      return log
    })
    expect(count).toBeGreaterThan(5)
    expect(log.mending).toBe(false)
    while (log.compact() !== null);
    expect(log.state(40)).toEqual({ count: 40, checksum: rows.checksum, last: 40 })
    expect(fits(log)).toBe(true)
  })
})
