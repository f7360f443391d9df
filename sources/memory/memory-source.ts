import { RockpoolError } from '../../protocol/errors.ts'
import { tableKey, type TableName } from '../../protocol/tables.ts'
import { inTime } from '../in-time.ts'
import type {
  Call,
  Prepared,
  PrepareWanted,
  SourceConnection,
  SourceHealth,
  SourceKind,
  StreamedTo,
  UnfollowableTable,
} from '../source.ts'
import type { MemoryDatabase } from './database.ts'
import { MemoryReader } from './reader.ts'
import { memoryStreamedTo, openMemoryStream } from './stream.ts'
import { MemoryTable } from './table.ts'

// The shortest kind of source: transactions in a list. It is for tests, and an example of what a kind has to do.

export const MEMORY_FORM = { name: 'memory', version: 1 }

/** Returns the database of a URL, `memory://NAME`. */
export type Databases = (name: string) => MemoryDatabase

export function memoryKind(databases: Databases): SourceKind<unknown> {
  return {
    ...MEMORY_FORM,
    schemes: ['memory'],
    connect: ({ url }) => new MemoryConnection(databases(nameOf(url))),
    address: (url) => ({ host: 'memory', database: nameOf(url) }),
    show: (position) => ({ text: String(position.n), time: null }),
  }
}

const nameOf = (url: string): string => url.replace(/^memory:\/\//, '')

class MemoryConnection implements SourceConnection {
  readonly foreignMark = 'a mark in the stream is not ours and was ignored'
  readonly reader: MemoryReader
  readonly #database: MemoryDatabase
  #closed = false
  /** True when this connection made the database keep transactions for us. */
  #made = false

  constructor(database: MemoryDatabase) {
    this.#database = database
    this.reader = new MemoryReader(database, (call, work) => this.#ask(call, work))
  }

  async check(call: Call): Promise<void> {
    await this.#ask(call, () => {})
  }

  async schema(call: Call): ReturnType<SourceConnection['schema']> {
    return this.#ask(call, () => ({
      tables: this.#database.tables.map(({ schema, name, columns, key }) => ({
        schema,
        name,
        columns: [...columns],
        key: [...key],
        types: {},
      })),
    }))
  }

  async examine(tables: readonly TableName[], _: unknown, call: Call): Promise<UnfollowableTable[]> {
    return this.#ask(call, () => this.#missing(tables))
  }

  async estimate(tables: readonly TableName[], call: Call): Promise<{ table: string; rows: number }[]> {
    return this.#ask(call, () =>
      this.#database.tables
        .filter((table) => tables.some((name) => tableKey(name) === tableKey(table)))
        .map((table) => ({
          table: `${table.schema}.${table.name}`,
          rows: this.#database.rows(table, () => true).size,
        })),
    )
  }

  async look(call: Call): ReturnType<SourceConnection['look']> {
    return this.#ask(call, () => ({
      version: '1',
      health: () => this.#health,
      problem: (identity, at, settled) => {
        const resync = settled ? this.#resync(identity, at) : null
        return resync === null ? null : { code: 'ROCKPOOL_SOURCE_CHANGED', reason: resync }
      },
    }))
  }

  async prepare(wanted: PrepareWanted, _: unknown, call: Call): Promise<Prepared> {
    return this.#ask(call, () => {
      const database = this.#database
      if (wanted.fresh && !this.#made) database.forget()
      const resync = wanted.fresh ? null : this.#resync(wanted.identity, wanted.at)
      const made = database.keepFor()
      this.#made ||= made
      const { version } = database
      const tables = database.tables
        .filter((table) => wanted.tables.some((name) => tableKey(name) === tableKey(table)))
        .map((table) => new MemoryTable(table))
      return {
        identity: { database: database.id },
        resync: resync === null ? null : { reason: resync, lost: null },
        tables,
        refused: this.#missing(wanted.tables).map((each) => ({ ...each, gone: false, names: [each.name] })),
        isNew: made,
        expiresMs: 0,
        isCurrent: (each) => this.#ask(each, () => database.version === version),
        open: (at, sink, each) => this.#ask(each, () => openMemoryStream({ database, tables, at, sink })),
      }
    })
  }

  async mark(text: string, call: Call): Promise<void> {
    await this.#ask(call, () => this.#database.mark(text))
  }

  async health(_: unknown, call: Call): Promise<SourceHealth | null> {
    return this.#ask(call, () => this.#health)
  }

  async identify(call: Call): Promise<{ database: string }> {
    return this.#ask(call, () => ({ database: this.#database.id }))
  }

  async leave(call: Call): Promise<void> {
    await this.forget(call)
  }

  async forget(call: Call): Promise<void> {
    await this.#ask(call, () => void this.#database.forget())
  }

  close(): Promise<void> {
    this.#closed = true
    return Promise.resolve()
  }

  get #health(): SourceHealth | null {
    const { kept } = this.#database
    return kept === null ? null : { level: 'ok', nudge: false, drop: null, problems: [], state: { kept } }
  }

  #missing(tables: readonly TableName[]): UnfollowableTable[] {
    const known = new Set(this.#database.tables.map(tableKey))
    return tables
      .filter((name) => !known.has(tableKey(name)))
      .map((name) => ({ name, table: `${name.schema}.${name.name}`, reason: 'there is no such table' }))
  }

  /**
   * Returns why the stream does not connect to what is stored, or null as far as that can be known before it begins.
   */
  #resync(identity: PrepareWanted['identity'], at: StreamedTo): string | null {
    const database = this.#database
    if (identity === null) return null
    if (identity.database !== database.id) return 'this is another database'
    if (database.kept === null) return 'the database has forgotten us'
    const { position } = memoryStreamedTo(at)
    if (position === null) return null
    if (position.n > database.length) return 'the database was put back to an older state'
    return database.kept > position.n ? 'somebody else has read what was kept for us' : null
  }

  /** Every call comes this way: it waits for one turn of the event loop, and may never be answered. */
  async #ask<T>(call: Call, work: () => T): Promise<T> {
    const { misbehaviour, broken } = this.#database
    const answer = async () => {
      await null
      if (misbehaviour.neverAnswers) await new Promise(() => {})
      if (this.#closed) throw new RockpoolError('ROCKPOOL_SOURCE_UNREACHABLE', 'the connection is closed')
      return work()
    }
    const deadlineMs = broken.has('answers in time or not at all') ? Infinity : call.deadlineMs
    const signal = broken.has('ends aborted calls') ? new AbortController().signal : call.signal
    return inTime('the database', { signal, deadlineMs }, () => void this.close(), answer)
  }
}
