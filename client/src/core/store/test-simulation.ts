import { Random } from '../../../../test/support/random.ts'
import { identifier, type Sqlite } from '../../sqlite/sqlite.ts'
import type { SqlValue } from '../../types.ts'
import { Incoming, positions, type Target } from './incoming.ts'
import { openLayout } from './layout.ts'
import { beginWrite, endWrite } from './local.ts'
import { applySchema } from './schema.ts'
import { atTable, type StoredTable, type StoreSchema } from './tables.ts'
import { TestQueue, type Snapshot } from './test-queue.ts'
import { COLUMNS, shown, TestServer, type LocalOp, type ModelRow } from './test-server.ts'
import { Crash, FaultySqlite } from './test-crash.ts'
import { TestFile } from './test-file.ts'

// One schedule: a server that changes, lines that are cut anywhere, local writes, crashes, power cuts, uploads whose
// requests and answers are lost or come twice, verdicts of every kind, schemas that come and go. After every step each
// table is what the server had at the last applied checkpoint, and the unconfirmed local transactions on top of it. In
// one file, because model, steps and checks are read side by side.

export interface Outcome {
  violation: string | null
  counts: Record<string, number>
}

const STEPS = 80

const SCHEMAS: readonly StoreSchema[] = [
  {
    tables: {
      todos: { columns: { title: 'text', n: 'integer', done: 'boolean' }, indexes: { by_title: ['title', 'n'] } },
      lists: { columns: { title: 'text', tags: 'json' }, old: true },
    },
  },
  {
    tables: {
      todos: { columns: { title: 'text', n: 'integer', done: 'boolean', late: 'text' } },
      lists: { columns: { title: 'text', tags: 'json' }, old: true },
      extra: { columns: { title: 'text', n: 'integer' } },
    },
  },
  {
    tables: {
      todos: { columns: { done: 'boolean', title: 'text' }, indexes: { by_title: ['done'] } },
      extra: { columns: { late: 'text', n: 'integer' } },
    },
  },
]

/** A checkpoint that is announced, and what has not come of it yet. */
interface Sending {
  target: Target
  ops: Map<string, ReturnType<TestServer['ops']>>
}

type Rows = Map<string, ModelRow>
/** Of a row. */
interface Place {
  table: string
  id: string
}

const key = (table: string, id: string): string => `${table} ${id}`

class Schedule {
  readonly #random: Random
  readonly #server: TestServer
  readonly #db: FaultySqlite
  readonly counts: Record<string, number> = {}
  #schema: StoreSchema = SCHEMAS[0] as StoreSchema
  #tables: Map<string, StoredTable> = new Map()
  #incoming: Incoming
  /** What the connection brings: per bucket how far it has come. */
  #sending: Sending | null = null
  /** Up to where this connection has brought a bucket. */
  readonly #came = new Map<string, number>()
  /** What each bucket held at the checkpoint that was applied last. */
  #applied = new Map<string, ReturnType<TestServer['rows']>>()
  #frozen = new Map<string, ReturnType<TestServer['rows']>>()
  readonly #queue: TestQueue
  /** Null: the connection is given, and loses no power. */
  readonly #file: TestFile | null
  /** The model as it was when the file was flushed last. */
  #flushed: { applied: Map<string, ReturnType<TestServer['rows']>>; queue: Snapshot } = {
    applied: new Map(),
    queue: { reached: 0, all: [] },
  }
  #last = 0

  constructor(seed: number, connection?: Sqlite) {
    this.#random = new Random(seed)
    this.#server = new TestServer(this.#random)
    this.#file = connection ? null : new TestFile()
    this.#db = new FaultySqlite(connection ?? (this.#file as TestFile).open())
    this.#queue = new TestQueue(this.#random, this.#server, {
      db: this.#db,
      tables: () => this.#tables,
      schema: () => this.#schema,
      count: (what) => this.#count(what),
      flush: () => this.#flush(),
    })
    this.#open()
    this.#incoming = this.#connect()
    this.#flush()
  }

  run(steps: number): void {
    for (let step = 0; step < steps; step++) {
      const kind = this.#random.weighted<keyof typeof this.actions>([
        [6, 'server'],
        [6, 'write'],
        [12, 'line'],
        [9, 'upload'],
        [0.7, 'cut'],
        [this.#file ? 0.3 : 0, 'power'],
        [0.3, 'schema'],
        [0.3, 'damage'],
      ])
      this.#db.left = this.#random.chance(0.04) ? this.#random.int(40) : Infinity
      try {
        this.actions[kind]()
        this.#count(kind)
      } catch (error) {
        if (!(error instanceof Crash)) throw error
        this.#count('crash')
        this.#db.left = Infinity
        this.#open()
        this.#incoming = this.#connect()
        this.#queue.disconnected()
      }
      this.#db.left = Infinity
      this.#check(kind)
    }
  }

  end(): void {
    this.#db.close()
    this.#file?.remove()
  }

  readonly actions = {
    server: (): void => {
      for (let n = this.#random.int(4); n >= 0; n--) this.#server.step()
    },
    write: (): void => this.#write(),
    line: (): void => this.#line(),
    upload: (): void => this.#queue.step(),
    cut: (): void => {
      this.#incoming = this.#connect()
      this.#queue.disconnected()
    },
    power: (): void => {
      const again = this.#file?.lost()
      if (!again) return
      this.#db.use(again)
      this.#applied = new Map(this.#flushed.applied)
      this.#queue.restore(this.#flushed.queue)
      this.#open()
      this.#incoming = this.#connect()
      this.#queue.disconnected()
    },
    schema: (): void => {
      this.#schema = this.#random.pick(SCHEMAS)
      this.#open()
      this.#incoming = this.#connect()
    },
    damage: (): void => {
      // What came of a bucket does not add up.
      this.#db
        .prepare(
          'UPDATE rp_buckets SET checksum = checksum + 1 WHERE id = (SELECT id FROM rp_buckets WHERE name IS NOT NULL LIMIT 1)',
        )
        .run()
      this.#incoming = this.#connect()
    },
  }

  #flush(): void {
    this.#file?.flush()
    this.#flushed = { applied: new Map(this.#applied), queue: this.#queue.snapshot() }
  }

  #open(): void {
    openLayout(this.#db)
    this.#tables = applySchema(this.#db, this.#schema)
  }

  #connect(): Incoming {
    this.#sending = null
    this.#came.clear()
    // Small, so that much is staged.
    return new Incoming(this.#db, this.#tables, this.#random.pick([0, 200, 1 << 20]))
  }

  #line(): void {
    // A checkpoint that takes too long is left for a newer one, and what has come of it counts.
    if (this.#sending === null || this.#random.chance(0.15)) this.#sending = this.#announce()
    const { target, ops } = this.#sending
    const open = [...ops].filter(([, left]) => left.length > 0)
    const [name, left] = this.#random.chance(0.85) && open.length > 0 ? this.#random.pick(open) : []
    if (name !== undefined && left) {
      const some = left.splice(0, 1 + this.#random.int(4))
      this.#came.set(name, Number(some.at(-1)?.op_id))
      if (some.length > 1 && this.#random.chance(0.01)) some.shift()
      this.#incoming.receive(name, some, JSON.stringify(some).length)
      return
    }
    // Complete, or of the priorities that are all here.
    const incomplete = open.map(([of]) => target.buckets.get(of)?.priority ?? 0)
    const priority = incomplete.length === 0 ? null : Math.min(...incomplete) - 1
    if (priority === 0) return
    const done = this.#incoming.complete(target, priority, 1)
    if (!done.ok) {
      this.#count('mismatch')
      this.#incoming = this.#connect()
      return
    }
    this.#count(priority === null ? 'checkpoint' : 'partial')
    for (const [name, { priority: of }] of target.buckets) {
      if (priority === null || of <= priority) this.#applied.set(name, this.#frozen.get(name) ?? new Map())
    }
    if (priority !== null) return
    this.#came.clear()
    for (const name of this.#applied.keys()) if (!target.buckets.has(name)) this.#applied.delete(name)
    this.#queue.confirm(Number(target.writeCheckpoint))
    this.#sending = null
  }

  /** A checkpoint, and what the client lacks of it. */
  #announce(): Sending {
    const target = this.#server.target()
    this.#frozen = new Map([...target.buckets.keys()].map((name) => [name, this.#server.rows(name)]))
    // In this connection nothing else is announced before it is complete.
    this.#incoming.keep(target)
    const after = new Map([
      ...positions(this.#db).map(({ name, after }): [string, number] => [name, Number(after)]),
      ...this.#came,
    ])
    return {
      target,
      ops: new Map([...target.buckets.keys()].map((name) => [name, this.#server.ops(name, after.get(name) ?? 0)])),
    }
  }

  #write(): void {
    const rows = this.#expected()
    const ops: LocalOp[] = []
    let seq = 0
    let changed = false
    const id = `tx${++this.#last}`
    this.#db.transaction(() => {
      seq = beginWrite(this.#db, id, 1)
      let place: Place | null = null
      for (let n = this.#random.int(4); n >= 0; n--) {
        // Often the same row again.
        place = this.#random.chance(0.4) && place ? place : this.#place()
        this.#statement(rows, ops, place)
      }
      changed = endWrite(this.#db, seq, `call of ${id}`).size > 0
    })
    if (changed !== ops.length > 0) throw new Error(`a transaction with ${ops.length} ops says changed = ${changed}`)
    this.#queue.written(seq, id, joined(ops))
  }

  #place(): Place {
    return { table: this.#random.pick(Object.keys(this.#schema.tables)), id: `r${this.#random.int(6)}` }
  }

  /** One statement, and what it does in the model. */
  #statement(rows: Rows, ops: LocalOp[], { table, id }: Place): void {
    const random = this.#random
    const columns = Object.keys(this.#schema.tables[table]?.columns ?? {})
    const at = key(table, id)
    const stored = rows.get(at)
    const values = Object.fromEntries(columns.map((column) => [column, localValue(random, column)]))
    const withOld = (old: ModelRow): Partial<LocalOp> => (this.#schema.tables[table]?.old ? { old } : {})
    const list = ['id', ...columns].map(identifier).join(', ')
    const marks = ['id', ...columns].map(() => '?').join(', ')
    const all = [id, ...columns.map((column) => values[column] ?? null)]
    const insert = (verb: string, tail = ''): number =>
      this.#db.prepare(`${verb} INTO ${identifier(table)} (${list}) VALUES (${marks}) ${tail}`).run(all)
    const put = (): void => {
      rows.set(at, { ...EMPTY, ...values })
      ops.push({ op: 'put', table, id, data: values })
    }
    const patch = (data: ModelRow, of = id): void => {
      const before = rows.get(key(table, of))
      if (!before) return
      const different = Object.fromEntries(
        Object.entries(data).filter(([column, value]) => !isSame(before[column], value)),
      )
      if (Object.keys(different).length === 0) return
      rows.set(key(table, of), { ...before, ...different })
      const old = Object.fromEntries(Object.keys(different).map((column) => [column, before[column] ?? null]))
      ops.push({ op: 'patch', table, id: of, data: different, ...withOld(old) })
    }
    const remove = (of: string): void => {
      const before = rows.get(key(table, of))
      if (!rows.delete(key(table, of))) return
      const old = Object.fromEntries(columns.map((column) => [column, before?.[column] ?? null]))
      ops.push({ op: 'delete', table, id: of, data: {}, ...withOld(old) })
    }
    const column = random.pick(columns)
    const one = { [column]: values[column] ?? null }
    const quoted = identifier(column)
    random.weighted<() => void>([
      [4, () => (insert('INSERT OR REPLACE'), put())],
      [2, () => (insert('INSERT OR IGNORE'), stored ? undefined : put())],
      [
        3,
        () => (
          insert('INSERT', `ON CONFLICT (id) DO UPDATE SET ${quoted} = excluded.${quoted}`),
          stored ? patch(one) : put()
        ),
      ],
      [
        4,
        () => (
          this.#db.prepare(`UPDATE ${identifier(table)} SET ${quoted} = ? WHERE id = ?`).run([one[column] ?? null, id]),
          patch(one)
        ),
      ],
      [
        1,
        () => (
          this.#db
            .prepare(`UPDATE OR REPLACE ${identifier(table)} SET ${quoted} = ? WHERE id = ?`)
            .run([one[column] ?? null, id]),
          patch(one)
        ),
      ],
      [3, () => (this.#db.prepare(`DELETE FROM ${identifier(table)} WHERE id = ?`).run([id]), remove(id))],
      [
        2,
        () => {
          // The row with the highest number goes, and another one gets its number.
          const newest = this.#db
            .prepare(`SELECT id FROM ${identifier(table)} ORDER BY rowid DESC LIMIT 1`)
            .all()[0]?.[0]
          if (typeof newest !== 'string') return
          this.#db.prepare(`DELETE FROM ${identifier(table)} WHERE id = ?`).run([newest])
          remove(newest)
          insert('INSERT OR REPLACE')
          put()
        },
      ],
    ])()
  }

  /** What the tables show. */
  #expected(): Rows {
    const rows: Rows = new Map()
    const newest = new Map<string, number>()
    for (const bucket of this.#applied.values()) {
      for (const [at, { id, data }] of bucket) {
        if ((newest.get(at) ?? 0) > id) continue
        newest.set(at, id)
        rows.set(at, shown(data))
      }
    }
    for (const { ops } of this.#queue.shown()) {
      for (const { op, table, id, data } of ops) {
        const at = key(table, id)
        const before = rows.get(at)
        if (op === 'delete') rows.delete(at)
        else if (op === 'put') rows.set(at, { ...EMPTY, ...data })
        else if (before) rows.set(at, { ...before, ...data })
      }
    }
    return rows
  }

  #check(after: string): void {
    const expected = this.#expected()
    for (const [table, { columns }] of Object.entries(this.#schema.tables)) {
      const names = ['id', ...Object.keys(columns)]
      const found = this.#db
        .prepare(`SELECT ${names.map(identifier).join(', ')} FROM ${identifier(table)} ORDER BY id`)
        .all()
        .map(textOf)
      const wanted = [...expected]
        .filter(([at]) => at.startsWith(`${table} `))
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([at, row]) => textOf([at.slice(table.length + 1), ...names.slice(1).map((name) => row[name] ?? null)]))
      if (found.join('\n') !== wanted.join('\n'))
        throw new Error(`after ${after} ${table} has\n${found.join('\n')}\nand not\n${wanted.join('\n')}`)
    }
    this.#checkLinks()
    this.#none(
      'a copy of a row that has no other',
      `SELECT type, row_id FROM rp_copies c WHERE (SELECT count(*) FROM rp_copies o WHERE o.type = c.type AND o.row_id = c.row_id) < 2
      AND type IN (SELECT id FROM rp_types WHERE name IN (${[...this.#tables.keys()].map((name) => `'${name}'`).join(', ')}))`,
    )
    this.#queue.check(after)
  }

  /** Each row is covered, or has a proven link; no link is without a row. */
  #checkLinks(): void {
    for (const name of this.#tables.keys()) {
      const [at, table] = [atTable(name), identifier(name)]
      const type = `(SELECT id FROM rp_types WHERE name = '${name}')`
      this.#none(
        `a link of ${name} without a row`,
        `SELECT rid FROM ${at} WHERE rid NOT IN (SELECT rowid FROM ${table})`,
      )
      this.#none(
        `a row of ${name} without its link`,
        `SELECT id FROM ${table} t WHERE (SELECT count(*) FROM ${at} WHERE rid = t.rowid AND proof = rp_hash(t.id)) +
        (SELECT count(*) FROM rp_base WHERE type = ${type} AND row_id = t.id) <> 1`,
      )
    }
  }

  #none(what: string, sql: string): void {
    const rows = this.#db.prepare(sql).all()
    if (rows.length > 0) throw new Error(`${what}: ${textOf(rows[0] ?? [])}`)
  }

  #count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1
  }
}

const EMPTY: ModelRow = Object.fromEntries(COLUMNS.map((column) => [column, null]))

/** Ops of one row that follow each other are one. */
function joined(ops: readonly LocalOp[]): LocalOp[] {
  const all: LocalOp[] = []
  for (const op of ops) {
    const last = all.at(-1)
    if (last && last.op !== 'delete' && op.op === 'patch' && last.table === op.table && last.id === op.id) {
      last.data = { ...last.data, ...op.data }
      if (last.op === 'patch' && last.old) last.old = { ...op.old, ...last.old }
    } else all.push({ ...op })
  }
  return all
}

const isSame = (a: SqlValue | undefined, b: SqlValue): boolean => textOf([a ?? null]) === textOf([b])

const textOf = (row: readonly SqlValue[]): string =>
  row
    .map((value) =>
      value instanceof Uint8Array
        ? `x${[...value].join(' ')}`
        : typeof value === 'string'
          ? `'${value}'`
          : String(value),
    )
    .join(' | ')

function localValue(random: Random, column: string): SqlValue {
  if (random.chance(0.1)) return null
  if (column === 'n') return random.chance(0.2) ? 9223372036854775807n : random.int(50)
  if (column === 'done') return random.int(2)
  if (column === 'tags') return random.pick(['["z"]', '{"$b":"00"}'])
  return random.chance(0.15) ? new Uint8Array([random.int(256), 0]) : `local ${random.int(20)}`
}

/** `connection`: without one it is a file, which loses what was not flushed. */
export function schedule(seed: number, connection?: Sqlite): Outcome {
  const run = new Schedule(seed, connection)
  try {
    run.run(STEPS)
    return { violation: null, counts: run.counts }
  } catch (error) {
    return {
      violation: error instanceof Error ? `${error.message}\n${error.stack}` : String(error),
      counts: run.counts,
    }
  } finally {
    run.end()
  }
}
