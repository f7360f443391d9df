import { describe, expect, test } from 'vitest'
import { opText, opIdOf, rowKeyOf, splitOps } from '../../protocol/op-text.ts'
import type { RowOp } from '../../protocol/ops.ts'
import type { Database } from '../shared/database.ts'
import { testDatabase } from '../test-database.ts'
import type { LogLimits } from './limits.ts'
import { Log } from './log.ts'
import { STATEMENTS } from './storage.ts'
import { page, put, randomOf, remove, Replica } from './test-ops.ts'

// The file is long because logs are compacted under one set of limits.

/** A log beside what it must say: a replica at every op that was ever appended. */
class World {
  readonly random: () => number
  readonly db = testDatabase()
  readonly limits: Partial<LogLimits>
  log: Log
  /** By op id; ids have holes, as in a tenant of many buckets. */
  readonly truth = new Map<number, Replica>([[0, new Replica()]])
  head = 0
  committed = 0
  readonly boundaries = [0]
  /** Ops that a check of what is clean has looked at, at most. */
  clean = 0

  constructor(seed: number) {
    this.random = randomOf(seed)
    this.limits = {
      extendedBytes: this.int(600),
      pageBytes: 200 + this.int(1_500),
      pages: 2 + this.int(6),
      keys: 1 + this.int(8),
      keysLength: 1_000_000,
      afterBytes: 0,
      historyLength: this.int(2) * 1_000_000,
    }
    this.log = new Log(this.db, this.limits)
  }

  int(n: number): number {
    return Math.floor(this.random() * n)
  }

  /** Committed are at times all ops, at times not those of the last appends. */
  append(): void {
    const ops = Array.from({ length: 1 + this.int(4) }, (): RowOp => {
      const id = `r${this.int(6)}`
      return this.random() < 0.3
        ? remove(id)
        : put(id, JSON.stringify({ id, n: this.int(1_000), text: '},{"op_id":"1","checksum":2' }))
    })
    const first = this.head + 1 + this.int(3)
    const before = this.at(this.head)
    for (const [i, op] of ops.entries()) {
      const next = before.copy()
      next.apply(opText(first + i, op), Infinity)
      this.truth.set(first + i, next)
      before.apply(opText(first + i, op), Infinity)
    }
    const answer = this.log.append({ ...page(first, ...ops), committed: this.committed })
    this.head = first + ops.length - 1
    expect(answer).toMatchObject({ checksum: before.checksum, last: this.head })
    if (this.random() < 0.6) {
      this.committed = this.head + this.int(2)
      this.boundaries.push(this.committed)
    }
  }

  /** The replica at a checkpoint. */
  at(checkpoint: number): Replica {
    for (let id = checkpoint; ; id--) {
      const replica = this.truth.get(id)
      if (replica) return replica.copy()
    }
  }

  /** A client that has completed `position` goes to `checkpoint`. False: the log says that it is overtaken. */
  follow(position: number, checkpoint: number, budget: number): boolean {
    const client = this.at(position)
    client.position = position
    const state = this.log.stateAt(checkpoint)
    if (state.kind !== 'state') return false
    expect(state.checksum).toBe(this.at(checkpoint).checksum)
    expect(state.count).toBe(this.ops(checkpoint))
    const sent: string[] = []
    for (;;) {
      const answer = this.log.read(client.position, checkpoint, budget)
      if (answer.kind !== 'ops') return false
      sent.push(...splitOps(answer.body).flatMap((text) => rowKeyOf(text) ?? []))
      expect(answer.count).toBe(splitOps(answer.body).length)
      client.apply(answer.body, checkpoint)
      if (!answer.more) break
      expect(answer.last).toBe(client.position)
      if (this.random() < 0.2) this.log.compact()
    }
    if (this.limits.historyLength !== 0)
      expect(new Set(sent).size, `from ${position} to ${checkpoint}`).toBe(sent.length)
    expect(client.checksum, `from ${position} to ${checkpoint}`).toBe(state.checksum)
    expect(client.content, `from ${position} to ${checkpoint}`).toBe(this.at(checkpoint).content)
    return true
  }

  /** What is stored as looked at holds one op of a row. */
  checkClean(): void {
    if (this.head === 0) return
    const clean = Number(this.db.all('SELECT clean FROM history')[0]?.clean ?? 0)
    const texts = this.db.all('SELECT body FROM pages').flatMap(({ body }) => splitOps(String(body)))
    const keys = texts.filter((text) => opIdOf(text) <= clean).flatMap((text) => rowKeyOf(text) ?? [])
    expect(new Set(keys).size, `clean up to ${clean}`).toBe(keys.length)
    this.clean = Math.max(this.clean, keys.length)
  }

  ops(checkpoint: number): number {
    const answer = this.log.read(0, checkpoint, Infinity)
    return answer.kind === 'ops' ? answer.count : -1
  }

  /** Every client of every earlier checkpoint, to every checkpoint that is answered: how many were. */
  check(): { answered: number; overtaken: number } {
    const result = { answered: 0, overtaken: 0 }
    for (const checkpoint of this.boundaries) {
      const rows = this.log.rows(checkpoint)
      if (rows.kind === 'rows')
        expect(rows.rows).toEqual(JSON.parse(this.at(checkpoint).content).map(([, data]: [string, string]) => data))
      for (const position of this.boundaries) {
        if (position > checkpoint) continue
        if (this.follow(position, checkpoint, this.random() < 0.5 ? 300 : Infinity)) result.answered++
        else result.overtaken++
      }
    }
    this.checkClean()
    // The newest is always answered: there may be no newer message.
    expect(this.follow(0, this.committed, 500), 'the newest checkpoint').toBe(true)
    expect(this.log.rows(this.committed).kind).toBe('rows')
    return result
  }
}

describe('compaction', () => {
  test('I3: whatever a client has and wherever it goes, it ends with the rows and the checksum of that checkpoint, or is told to go further', () => {
    const total = { answered: 0, overtaken: 0, clears: 0, moves: 0, clean: 0 }
    for (let seed = 1; seed <= 150; seed++) {
      const world = new World(seed)
      for (let n = 0; n < 30; n++) {
        const dice = world.random()
        if (dice < 0.55) world.append()
        else if (dice < 0.9) for (let steps = 1 + world.int(4); steps > 0 && world.log.compact() !== null; steps--);
        else {
          // Evicted, at times before it could say where it stood.
          if (world.random() < 0.5) world.log.pauseCompaction()
          world.log = new Log(world.db, world.limits)
        }
        if (n % 10 === 9) {
          const { answered, overtaken } = world.check()
          total.answered += answered
          total.overtaken += overtaken
        }
      }
      const bodies = world.db.all('SELECT body FROM pages')
      const body = bodies.map((row) => String(row.body)).join()
      total.clean += world.clean
      total.moves += body.split('"MOVE"').length - 1
      total.clears += body.split('"CLEAR"').length - 1
    }
    expect(total.answered).toBeGreaterThan(5_000)
    expect(total.overtaken).toBeGreaterThan(3_000)
    expect(total.moves).toBeGreaterThan(500)
    expect(total.clean).toBeGreaterThan(200)
    expect(total.clears).toBeGreaterThan(100)
  })

  test('a run to the end leaves one op of each row, MOVEs and one CLEAR: as few PUTs as there are rows, also when rows are remembered two at a time', () => {
    for (const keys of [2, 100]) {
      const log = new Log(testDatabase(), { keys, pageBytes: 2_000, afterBytes: 0 })
      let id = 0
      for (let n = 0; n < 400; n++)
        log.append({ ...page(++id, put(`r${n % 10}`, JSON.stringify({ n, x: 'x'.repeat(150) }))), committed: id - 1 })
      log.append({ ...page(++id, put('other', JSON.stringify({ x: 'x'.repeat(17_000) }))), committed: id - 1 })
      log.raise(id)
      const before = log.state(id)
      const rows = log.rows(id)
      while (log.compact() !== null);
      expect(log.worthCompacting).toBe(false)
      expect(log.rows(id)).toEqual(rows)
      const state = log.state(id)
      expect({ ...state, count: 0 }).toEqual({ ...before, count: 0 })
      const read = log.read(0, id, Infinity)
      if (read.kind !== 'ops') throw new Error(read.kind)
      const kinds = splitOps(read.body).map((text) => (JSON.parse(text) as { op: string }).op)
      expect(kinds.length).toBe(state.count)
      expect(kinds.filter((kind) => kind === 'PUT')).toHaveLength(11)
      expect(kinds[0]).toBe('CLEAR')
      expect(kinds.length).toBe(12)
    }
  })

  test('rows that were removed leave nothing but a CLEAR', () => {
    const log = new Log(testDatabase(), { afterBytes: 0 })
    let id = 0
    for (let n = 0; n < 30; n++)
      log.append({ ...page(++id, put(`r${n}`, JSON.stringify({ x: 'x'.repeat(1_000) }))), committed: id - 1 })
    for (let n = 0; n < 30; n++) log.append({ ...page(++id, remove(`r${n}`)), committed: id - 1 })
    log.append({ ...page(++id, put('other', JSON.stringify({ x: 'x'.repeat(17_000) }))), committed: id - 1 })
    log.raise(id)
    while (log.compact() !== null);
    expect(log.state(id).count).toBe(2)
    expect(log.stateAt(id - 1)).toMatchObject({ kind: 'state', count: 1 })
    expect(log.stateAt(id - 2).kind).toBe('overtaken')
  })

  test('a checkpoint inside a run that became a CLEAR is overtaken, and ops above the committed checkpoint do not become part of it', () => {
    const log = new Log(testDatabase(), { afterBytes: 0 })
    for (const id of [1, 2, 3]) log.append({ ...page(id, remove(`r${id}`)), committed: id - 1 })
    log.append({ ...page(4, put('other', JSON.stringify({ x: 'x'.repeat(17_000) }))), committed: 2 })
    while (log.compact() !== null);
    expect([0, 1, 2, 3, 4].map((checkpoint) => log.stateAt(checkpoint))).toMatchObject([
      { kind: 'state', count: 0 },
      { kind: 'overtaken' },
      { kind: 'state', count: 1, last: 2 },
      { kind: 'state', count: 2, last: 3 },
      { kind: 'state', count: 3, last: 4 },
    ])
  })

  test('a step that fails half-way leaves everything as it was', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const world = new World(seed)
      for (let n = 0; n < 20; n++) world.append()
      let left = Infinity
      const failing: Database = {
        ...world.db,
        run(sql, ...params) {
          if (--left === 0) throw new Error('the disk is full')
          world.db.run(sql, ...params)
        },
      }
      world.log = new Log(failing, world.limits)
      world.log.raise(world.committed)
      left = 1 + world.int(6)
      expect(() => {
        while (world.log.compact() !== null);
      }).toThrow('the disk is full')
      world.check()
      // And goes on when it is asked again, as well as in another incarnation.
      while (world.log.compact() !== null);
      world.check()
    }
  })

  test('only what an append has said to be committed is touched, in favour of nothing above it', () => {
    const log = new Log(testDatabase(), { afterBytes: 0 })
    const large = (n: number) => JSON.stringify({ n, x: 'x'.repeat(17_000) })
    log.append({ ...page(1, put('a', large(1))), committed: 0 })
    log.append({ ...page(2, put('a', large(2))), committed: 0 })
    log.append({ ...page(3, put('a', large(3))), committed: 1 })
    log.append({ ...page(4, put('a', large(4))), committed: 1 })
    while (log.compact() !== null);
    for (const checkpoint of [1, 2, 3, 4]) expect(log.stateAt(checkpoint).kind).toBe('state')
    // A batch was committed: its ops are superseded up to there.
    log.append({ ...page(5, put('a', large(5))), committed: 3 })
    while (log.compact() !== null);
    expect([1, 2, 3, 4, 5].map((checkpoint) => log.stateAt(checkpoint).kind)).toEqual([
      'overtaken',
      'overtaken',
      'state',
      'state',
      'state',
    ])
    expect(log.rows(3)).toEqual({ kind: 'rows', rows: [large(3)] })
  })

  test('no statement scans', () => {
    const db = testDatabase()
    new Log(db).append(page(1, put('a', '{}')))
    for (const sql of [
      STATEMENTS.before,
      STATEMENTS.after,
      STATEMENTS.upTo,
      STATEMENTS.extend,
      STATEMENTS.rewrite,
      STATEMENTS.delete,
      STATEMENTS.header,
      STATEMENTS.history,
    ])
      expect(db.plan(sql), sql).toMatch(/^SEARCH (pages|header|history) USING INTEGER PRIMARY KEY/)
    // In the order of the key, and only one row of it.
    for (const sql of [STATEMENTS.firstOp, STATEMENTS.head]) {
      expect(db.plan(sql)).toBe('SCAN pages')
      expect(sql).toMatch(/ORDER BY last_op( DESC)? LIMIT 1$/)
    }
  })
})

describe('a removed bucket', () => {
  test('says that it is gone, also to appends that come again; ops above its end begin a new log', () => {
    const db = testDatabase()
    const log = new Log(db)
    log.append(page(1, put('a', '{}'), put('b', '{}')))
    log.remove(5)
    for (const each of [log, new Log(db)]) {
      expect(each.stateAt(9)).toEqual({ kind: 'gone' })
      expect(each.read(0, 9, 100)).toEqual({ kind: 'gone' })
      expect(each.rows(9)).toEqual({ kind: 'gone' })
      expect(each.append(page(1, put('a', '{}'), put('b', '{}')))).toEqual({ count: 0, checksum: 0, last: 2 })
      expect(each.gone).toBe(true)
    }
    const again = page(6, put('a', '{"n":2}'))
    expect(log.append(again)).toEqual({ count: 1, checksum: again.checksum, last: 6 })
    // A removal that comes late does not take it away again.
    log.remove(5)
    expect(new Log(db).stateAt(9)).toEqual({ kind: 'state', count: 1, checksum: again.checksum, last: 6 })
  })
})
