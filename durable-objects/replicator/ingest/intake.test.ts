import { describe, expect, test } from 'vitest'
import type { CatalogTable, PgoutputMessage } from '../../../sources/postgres/index.ts'
import { PostgresTable } from '../../../sources/postgres/postgres-table.ts'
import { DescribedTables } from '../../../sources/postgres/stream/described-tables.ts'
import {
  postgresStreamedTo,
  type PostgresPlace,
  type PostgresPosition,
} from '../../../sources/postgres/stream/positions.ts'
import { Transactions } from '../../../sources/postgres/stream/transactions.ts'
import type { SourceRow } from '../../../protocol/values.ts'
import { Batch } from './batch.ts'
import { Intake } from './intake.ts'
import type { Flush, IntakePorts } from './intake-ports.ts'
import type { FollowedTable } from './followed-table.ts'
import type { RowState } from '../store/row-state.ts'

// The file is long because events are played over one set of stand-ins.

const TEXT = 25
const DOCS = 7
/** Without a key. */
const LINES = 8

function tableOf(
  number: number,
  oid: number,
  name: string,
  columns: readonly string[],
  key: readonly string[],
): FollowedTable & { source: PostgresTable } {
  const catalog: CatalogTable = {
    oid,
    schema: 'public',
    name,
    key: [...key],
    keyEquals: key.map(() => '='),
    identity: key.length > 0 ? 'd' : 'f',
    columns: columns.map((column) => ({
      name: column,
      typeOid: TEXT,
      typeName: 'text',
      notNull: false,
      type: { oid: TEXT, kind: 'base', name: 'text' },
    })),
    names: [],
    parts: [],
    partitioned: false,
    rowFilter: null,
    fingerprint: '',
  }
  return { number, schema: 'public', name, source: new PostgresTable(catalog) }
}
const TABLES = [tableOf(1, DOCS, 'docs', ['id', 'gone', 'kept'], ['id']), tableOf(2, LINES, 'lines', ['line'], [])]

const relation = (oid: number, ...names: string[]): PgoutputMessage => ({
  type: 'relation',
  oid,
  schema: 'public',
  name: oid === DOCS ? 'docs' : 'lines',
  identity: oid === DOCS ? 'd' : 'f',
  columns: names.map((name) => ({ name, typeOid: TEXT, typmod: -1, key: name === 'id' })),
})
const RELATIONS = [relation(DOCS, 'id', 'gone', 'kept'), relation(LINES, 'line')]
const insert = (oid: number, ...tuple: (string | null)[]): PgoutputMessage => ({ type: 'insert', oid, new: tuple })
const truncate = (...oids: number[]): PgoutputMessage => ({
  type: 'truncate',
  oids,
  cascade: false,
  restartIdentity: false,
})
const transaction = (lsn: bigint, ...messages: PgoutputMessage[]): PgoutputMessage[] => [
  { type: 'begin', finalLsn: lsn, commitTime: `t${lsn}`, xid: Number(lsn) },
  ...messages,
  { type: 'commit', commitLsn: lsn, endLsn: lsn + 1n, commitTime: `t${lsn}` },
]

/** An intake that is fed with what Postgres sends. */
class Fed extends Intake {
  readonly #transactions: Transactions

  constructor(at: Pick<Flush, 'position' | 'place'>, ports: IntakePorts) {
    super(TABLES, at, ports)
    const described = new DescribedTables(TABLES.map(({ source }) => source))
    const options = { prefix: 'p', reference: () => 0n, confirmed: 0n, repeated: () => {} }
    this.#transactions = new Transactions(described, postgresStreamedTo(at), options, (event, bytes) =>
      this.event(event, bytes),
    )
  }

  message(message: PgoutputMessage, bytes: number): void {
    this.#transactions.message(message, bytes)
  }
}
const changesOf = (flush: Flush | undefined) => (flush?.place as PostgresPlace | null | undefined)?.changes
const positionOf = (flush: Flush | undefined) => flush?.position as PostgresPosition | null | undefined

/** Storage, and what was evaluated. */
class World {
  readonly rows = new Map(TABLES.map(({ number }) => [number, new Map<string, RowState>()]))
  readonly evaluated: SourceRow[] = []
  readonly flushes: Flush[] = []
  readonly pending: string[] = []

  stored(table: number): Map<string, RowState> {
    const rows = this.rows.get(table)
    if (!rows) throw new Error('no such table')
    return rows
  }

  intake(at: Pick<Flush, 'position' | 'place'>, sources: Partial<IntakePorts> = {}): Fed {
    const ignored = () => {}
    return new Fed(at, {
      sliceChanges: 1_000,
      marker: () => [],
      deliver: ignored,
      unexpected: ignored,
      room: () => true,
      hasImages: () => true,
      hasIncomplete: () => this.pending.length > 0,
      isIncomplete: (_, key) => this.pending.includes(key),
      newBatch: () =>
        new Batch(0, {
          evaluate: ({ name }, row) => {
            this.evaluated.push(row)
            const data = JSON.stringify(row)
            return {
              rows: [{ bucket: 'all', definition: 'd', objectType: name, objectId: String(row.id ?? row.line), data }],
              errors: [],
            }
          },
          states: ({ number }, keys) =>
            new Map(
              keys.flatMap((key) => {
                const state = this.stored(number).get(key)
                return state ? [[key, state]] : []
              }),
            ),
          number: () => 1,
          skipped: ignored,
        }),
      store: (flush) => {
        this.flushes.push(flush)
        for (const { table, states } of flush.batch.rows.values())
          for (const [key, state] of states) {
            if (state) this.stored(table.number).set(key, state)
            else this.stored(table.number).delete(key)
          }
        for (const { key, pending } of flush.incomplete.values()) if (pending) this.pending.push(key)
      },
      keys: ({ number }, after, limit) =>
        [...this.stored(number).keys()]
          .filter((key) => key > after)
          .sort()
          .slice(0, limit),
      ...sources,
    })
  }

  /** Everything from the beginning, stored at the end. */
  take(...messages: PgoutputMessage[]): void {
    const intake = this.intake({ position: null, place: null })
    for (const message of messages) intake.message(message, 100)
    intake.flush()
  }

  /** Stored rows of `docs`. */
  fill(count: number): void {
    const keys = Array.from({ length: count }, (_, n) => `k${String(n).padStart(5, '0')}`)
    for (const id of keys) {
      this.stored(1).set(JSON.stringify([id]), { outputs: [{ bucket: 1, type: 'docs', id, hash: 'h' }], image: null })
    }
  }
}

describe('a transaction in which its table is altered', () => {
  test('a row is what the stream said its columns were when it came', () => {
    const world = new World()
    world.take(
      ...transaction(
        5n,
        ...RELATIONS,
        insert(DOCS, '1', 'x', 'y'),
        relation(DOCS, 'id', 'kept'),
        insert(DOCS, '2', 'z'),
      ),
    )
    expect(world.evaluated).toEqual([
      { id: '1', gone: 'x', kept: 'y' },
      { id: '2', kept: 'z' },
    ])
  })

  test('what is stored of a row by the names of before is not taken for what an update leaves out: the row is read again', () => {
    const update: PgoutputMessage = { type: 'update', oid: DOCS, new: ['1', undefined, 'z'] }
    const renamed = relation(DOCS, 'id', 'kept', 'more')
    for (const { before, hasImages, pending } of [
      { before: [...RELATIONS], hasImages: true, pending: [] },
      { before: [...RELATIONS, renamed], hasImages: true, pending: ['["1"]'] },
      { before: [...RELATIONS, renamed, ...RELATIONS], hasImages: true, pending: ['["1"]'] },
      { before: [...RELATIONS], hasImages: false, pending: ['["1"]'] },
    ]) {
      const world = new World()
      world.stored(1).set('["1"]', { outputs: [], image: { gone: 'x'.repeat(900), kept: 'y'.repeat(900) } })
      const intake = world.intake({ position: null, place: null }, { hasImages: () => hasImages })
      for (const message of transaction(5n, ...before, update)) intake.message(message, 100)
      intake.flush()
      expect([world.pending, world.evaluated.length]).toEqual([pending, 1 - pending.length])
    }
  })
})

test('a row that lacks a value is not completed by what was kept of it before: the change that left the value out is newer', () => {
  const update = (n: string): PgoutputMessage => ({ type: 'update', oid: DOCS, new: ['1', undefined, n] })
  const world = new World()
  world.stored(1).set('["1"]', { outputs: [], image: { gone: 'x'.repeat(900) } })
  // The first change comes while images are not trusted, the second one in the same batch, the third one when it is
  // stored.
  let trusted = false
  const intake = world.intake({ position: null, place: null }, { hasImages: () => trusted })
  const take = (...messages: PgoutputMessage[]) => messages.forEach((message) => intake.message(message, 100))
  take(...transaction(5n, ...RELATIONS, update('y')))
  trusted = true
  take(...transaction(6n, update('z')))
  intake.flush()
  take(...transaction(7n, update('w')))
  intake.flush()
  expect([world.evaluated, new Set(world.pending)]).toEqual([[], new Set(['["1"]'])])
  // Another row of the table is completed.
  world.stored(1).set('["2"]', { outputs: [], image: { gone: 'v' } })
  take(...transaction(8n, { type: 'update', oid: DOCS, new: ['2', undefined, 'u'] }))
  expect(world.evaluated).toEqual([{ id: '2', gone: 'v', kept: 'u' }])
})

test('what follows a description that was not expected waits for room: the catalog is looked at first', () => {
  const world = new World()
  let looking = false
  const intake = world.intake(
    { position: null, place: null },
    { room: () => !looking, unexpected: () => (looking = true) },
  )
  for (const message of transaction(5n, ...RELATIONS, insert(DOCS, '1', 'x', 'y'))) intake.message(message, 100)
  for (const message of transaction(6n, relation(DOCS, 'id', 'kept'), insert(DOCS, '2', 'z')))
    intake.message(message, 100)
  expect([intake.busy, world.evaluated]).toEqual([true, [{ id: '1', gone: 'x', kept: 'y' }]])
  // What came before it may be stored, and nothing else is.
  intake.flush()
  expect(world.flushes.map((flush) => positionOf(flush)?.xid)).toEqual([5])
  looking = false
  intake.resume()
  intake.flush()
  expect([intake.busy, world.evaluated.at(-1), positionOf(world.flushes.at(-1))?.xid]).toEqual([
    false,
    { id: '2', kept: 'z' },
    6,
  ])
})

test('a value that an update left out has its place among the columns: data is the same text, however the row came', () => {
  const world = new World()
  world.take(
    ...transaction(5n, ...RELATIONS, { type: 'update', oid: DOCS, old: ['1', 'x', 'y'], new: ['1', undefined, 'z'] }),
  )
  expect(JSON.stringify(world.evaluated)).toBe('[{"id":"1","gone":"x","kept":"z"}]')
})

describe('TRUNCATE of more rows than a slice has', () => {
  test.each(['k00000x', 'k02999x', 'a', 'z'])('takes row %s along, which came just before and is not stored', (id) => {
    for (const transactions of [1, 2]) {
      const world = new World()
      world.fill(3_000)
      const first = [...RELATIONS, insert(DOCS, id, 'x', 'y')]
      if (transactions === 1) world.take(...transaction(5n, ...first, truncate(DOCS)))
      else world.take(...transaction(5n, ...first), ...transaction(6n, truncate(DOCS)))
      expect([...world.stored(1).keys()]).toEqual([])
      expect(world.flushes.length).toBeGreaterThan(2)
    }
  })

  test('ended in its middle by a crash: what came before it in the transaction is not taken in twice', () => {
    const world = new World()
    world.fill(3_000)
    const messages = transaction(5n, ...RELATIONS, insert(LINES, 'one'), truncate(DOCS))
    const first = world.intake({ position: null, place: null }, { room: () => world.flushes.length < 2 })
    for (const message of messages) first.message(message, 100)
    const stored = world.flushes.at(-1)
    expect([world.stored(1).size > 0, changesOf(stored)]).toEqual([true, 1])
    const second = world.intake({ position: null, place: stored?.place ?? null })
    for (const message of messages) second.message(message, 100)
    second.flush()
    expect([...world.stored(2).values()].map(({ copies = 1 }) => copies)).toEqual([1])
    expect(world.stored(1).size).toBe(0)
  })
})

test('I4: of two tables that are truncated at once the first is not empty before the second, though that is noted and stored by itself', () => {
  const world = new World()
  world.fill(3)
  const care = {
    slice: (most: number) => most,
    notes: (table: { number: number }) => table.number === 2,
    trying: null,
    waits: false,
    about: function* () {
      yield
      return 'take' as const
    },
  }
  const intake = world.intake({ position: null, place: null }, { care: { care, skipped: () => {} } })
  for (const m of [...RELATIONS, ...transaction(1n, truncate(DOCS, LINES))]) intake.message(m, 1)
  intake.flush()
  expect(world.flushes.map(changesOf)).toEqual([0, undefined])
})

test('I4: what follows a batch that could not be stored is not stored without it, whoever finds room before the session has ended', () => {
  const world = new World()
  const stored: Flush[] = []
  const store = (flush: Flush) => {
    if (flush.batch.appends.size > 0 && stored.push(flush) === 2) throw new Error('no')
  }
  const intake = world.intake({ position: null, place: null }, { store })
  const take = (lsn: bigint) => {
    for (const m of transaction(lsn, insert(DOCS, `${lsn}`, 'x', 'y'))) intake.message(m, 1)
  }
  for (const m of RELATIONS) intake.message(m, 1)
  take(1n)
  intake.flush()
  take(2n)
  expect(() => intake.flush()).toThrow('no')
  take(3n)
  intake.resume()
  intake.flush()
  expect(stored.map((flush) => positionOf(flush)?.lsn)).toEqual(['0/1', '0/2'])
  expect(() => intake.between(() => {})).toThrow()
})

describe('I4: an error in the middle of a transaction', () => {
  test('nothing of it is stored, whoever finds room before the session has ended', () => {
    const world = new World()
    let broken = false
    const intake = world.intake(
      { position: null, place: null },
      {
        newBatch: () =>
          new Batch(0, {
            evaluate: (_, row) => {
              if (broken && row.id === 'b') throw new Error('no')
              return {
                rows: [{ bucket: 'all', definition: 'd', objectType: 't', objectId: String(row.id), data: '{}' }],
                errors: [],
              }
            },
            states: () => new Map(),
            number: () => 1,
            skipped: () => {},
          }),
      },
    )
    for (const m of [...RELATIONS, ...transaction(1n, insert(DOCS, 'before', 'x', 'y'))]) intake.message(m, 1)
    intake.flush()
    expect(world.flushes).toHaveLength(1)
    broken = true
    const half = transaction(2n, insert(DOCS, 'a', 'x', 'y'), insert(DOCS, 'b', 'x', 'y'))
    expect(() => half.forEach((m) => intake.message(m, 1))).toThrow('no')
    intake.resume()
    intake.flush()
    for (const m of transaction(3n, insert(DOCS, 'c', 'x', 'y'))) intake.message(m, 1)
    intake.flush()
    expect(world.flushes).toHaveLength(1)
    expect(intake.isBetween).toBe(false)
    expect(() => intake.between(() => {})).toThrow()
  })
})
