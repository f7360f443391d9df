import type { WrittenPromises } from '../core/database/fate-watch.ts'
import type {
  BoundStatement,
  DatabaseEvents,
  DatabasePort,
  LocalTransaction,
  WriteOptions as PortWriteOptions,
  Written,
} from '../core/database/port.ts'
import { ProblemError } from '../core/problem.ts'
import type { DatabaseStatus, StorageStatus } from '../core/database/status.ts'
import { DEFAULT_TTL } from '../core/sync/streams.ts'
import type { RowOf, TypedSchema } from '../schema.ts'
import type { Row, SignOutOptions, SqlParam, WaitOptions } from '../types.ts'
import type {
  Failed,
  QueryOptions,
  StreamHandle,
  StreamOptions,
  Table,
  WriteOptions,
  WriteTransaction,
} from './interface.ts'
import { LiveRows, type LiveView } from './live-view.ts'
import { rowMaker } from './rows.ts'
import type { Sql } from './sql.ts'
import { deleteOf, insertOf, selectById, transactionTable, updateOf } from './tables.ts'

// The API of an application: typed rows over a local database that opens itself, in a browser and in Node.
// The file is long because it has every method.

export class Database<S extends TypedSchema> {
  readonly tables: { readonly [T in keyof S['tables']]: Table<S, T> }
  readonly failed: Failed
  readonly #schema: S
  readonly #make: () => DatabasePort
  readonly #kind: StorageStatus['kind']
  #opening: Promise<DatabasePort> | null = null
  #core: DatabasePort | null = null
  #closed = false
  readonly #waiting: (() => void)[] = []

  constructor(schema: S, kind: StorageStatus['kind'], make: () => DatabasePort) {
    this.#schema = schema
    this.#kind = kind
    this.#make = make
    this.tables = Object.fromEntries(
      Object.keys(schema.tables).map((name) => [name, this.#table(name)]),
    ) as Database<S>['tables']
    this.failed = {
      list: async () => (await this.#open()).failed(),
      retry: async (id) => (await this.#open()).retry(id),
      edit: async (id, ops) => (await this.#open()).edit(id, ops),
      dismiss: async (id) => (await this.#open()).dismiss(id ?? null),
    }
  }

  /** Every method opens it; this only says when it is open, or why it is not. */
  get ready(): Promise<void> {
    return this.#open().then(() => {})
  }

  get status(): DatabaseStatus {
    return this.#core?.status ?? unopened(this.#kind)
  }

  /** Answers the function that ends it. */
  on<E extends keyof DatabaseEvents>(event: E, listener: (value: DatabaseEvents[E]) => void): () => void {
    let off: (() => void) | null = null
    let ended = false
    this.#whenOpen((core) => {
      if (!ended) off = core.on(event, listener)
    })
    return () => {
      ended = true
      off?.()
    }
  }

  /** Values of columns are decoded where a column of a table is shown; `decode: false` gives all as SQLite has them. */
  async query<R extends object>(statement: Sql<R>, options: QueryOptions = {}): Promise<R[]> {
    const core = await this.#open()
    const { rows, columns } = await core.query(statement.sql, statement.params, options.timeout)
    const make = rowMaker(options.decode === false ? NO_SCHEMA : this.#schema, columns)
    return rows.map((row) => make(row) as R)
  }

  /**
   * Runs one local transaction; its changes are visible at once and uploaded together. Inside, use `tx`: everything
   * else waits for the transaction to end.
   */
  async write<T>(
    change: (tx: WriteTransaction<S>) => T | Promise<T>,
    { retry = false, ...options }: WriteOptions = {},
  ): Promise<Written<T>> {
    const core = await this.#open()
    for (;;) {
      try {
        return await core.write((tx) => change(this.#transaction(tx)), options)
      } catch (error) {
        if (!retry || !(error instanceof ProblemError && error.code === 'owner_lost')) throw error
      }
    }
  }

  /**
   * Runs these statements as one local transaction, all or none. `value`: how many rows each changed. From a tab it is
   * one message, and its outcome is known whatever happens to the tab that has the database open.
   */
  async batch(statements: readonly Sql[], options: PortWriteOptions = {}): Promise<Written<number[]>> {
    return (await this.#open()).batch(
      statements.map(({ sql, params }) => ({ sql, params })),
      options,
    )
  }

  live<R extends object>(statement: Sql<R>, options?: { key?: string }): LiveView<R>
  /** The same as `live(…).subscribe(callback)`, for SQL as text. */
  live<R extends object = Row>(
    text: string,
    params: readonly SqlParam[],
    callback: (rows: readonly R[]) => void,
    onError?: (error: Error) => void,
  ): () => void
  live<R extends object>(
    statement: Sql<R> | string,
    options: { key?: string } | readonly SqlParam[] = {},
    callback: (rows: readonly R[]) => void = () => {},
    onError?: (error: Error) => void,
  ): LiveView<R> | (() => void) {
    if (typeof statement !== 'string') return this.#live(statement, 'length' in options ? {} : options)
    const params = 'length' in options ? options : []
    return this.#live<R>({ sql: statement, params }, {}).subscribe((rows) => callback(rows), onError)
  }

  #live<R extends object>(statement: Sql<R>, options: { key?: string }): LiveView<R> {
    return new LiveRows<R>({
      ...options,
      schema: this.#schema,
      follow: (listener) => {
        let end: (() => void) | null = null
        let ended = false
        this.#open().then(
          (core) => {
            if (!ended) end = core.follow(statement.sql, statement.params, listener)
          },
          (error: unknown) => listener.failed(error instanceof Error ? error : new Error(String(error))),
        )
        return () => {
          ended = true
          end?.()
        }
      },
    })
  }

  /** Subscribes to a stream of the sync config. */
  stream(name: string, parameters: Record<string, unknown> | null = null, options: StreamOptions = {}): StreamHandle {
    const opened = this.#open().then((core) =>
      core.stream({ name, parameters, ttl: options.ttl ?? DEFAULT_TTL, priority: options.priority ?? null }),
    )
    // Whoever waits for `synced` hears of it.
    opened.catch(() => {})
    const mine = (core: DatabasePort, id: number) => core.streams.find(({ subscription }) => subscription === id)
    let id: number | null = null
    void opened.then((stream) => (id = stream.id)).catch(() => {})
    const errors = (): readonly string[] => (this.#core && id !== null ? (mine(this.#core, id)?.errors ?? []) : [])
    return {
      get errors() {
        return errors()
      },
      synced: async (wait) => {
        const [core, stream] = await Promise.all([this.#open(), opened])
        await core.until(() => mine(core, stream.id)?.synced === true, wait)
      },
      close: () => void opened.then((stream) => stream.close()).catch(() => {}),
    }
  }

  /**
   * What became of a write that was rejected with `fate_unknown`, whose `call` is that of the error: the id of the
   * transaction, or null when nothing was stored.
   */
  async fate(call: string): Promise<string | null> {
    return (await this.#open()).fate(call)
  }

  /** What became of a write, also of an earlier session. */
  async transaction(id: string): Promise<WrittenPromises> {
    return (await this.#open()).transaction(id)
  }

  /**
   * Resolves when everything, or all of these priorities, has been shown in this session. Rejects by signal and
   * timeout.
   */
  async synced({ priority = Infinity, ...wait }: WaitOptions & { priority?: number } = {}): Promise<void> {
    const core = await this.#open()
    await core.until(() => core.shown >= priority, wait)
  }

  /** Deletes the local database, and closes it. What is unsent is not deleted unasked. */
  async signOut(options: SignOutOptions = {}): Promise<void> {
    await (await this.#open()).signOut(options)
  }

  /** Deletes the local database, whosever it is and whatever is unsent, and closes it. */
  async wipe(): Promise<void> {
    await (await this.#open()).wipe()
  }

  async connect(): Promise<void> {
    await (await this.#open()).connect()
  }

  async disconnect(): Promise<void> {
    await (await this.#open()).disconnect()
  }

  async close(): Promise<void> {
    this.#closed = true
    const opening = this.#opening
    // Also while it is opening, which may take long.
    await this.#core?.close()
    await opening?.catch(() => {})
  }

  #open(): Promise<DatabasePort> {
    this.#opening ??= this.#begin()
    return this.#opening
  }

  async #begin(): Promise<DatabasePort> {
    try {
      const core = (this.#core = this.#make())
      for (const begin of this.#waiting.splice(0)) begin()
      await core.opened
      return core
    } catch (error) {
      // Whoever asks next tries again.
      if (!this.#closed) this.#opening = this.#core = null
      throw error
    }
  }

  #whenOpen(work: (core: DatabasePort) => void): void {
    if (this.#core) work(this.#core)
    else this.#waiting.push(() => this.#core && work(this.#core))
  }

  #transaction(tx: LocalTransaction): WriteTransaction<S> {
    const tables = Object.fromEntries(
      Object.keys(this.#schema.tables).map((name) => [name, transactionTable(this.#schema, name, tx)]),
    )
    return {
      tables: tables as WriteTransaction<S>['tables'],
      execute: ({ sql, params }) => tx.execute(sql, params),
      query: async <R extends object>({ sql, params }: Sql<R>) => {
        const { rows, columns } = await tx.query(sql, params)
        const make = rowMaker(this.#schema, columns)
        return rows.map((row) => make(row) as R)
      },
    }
  }

  #table<T extends keyof S['tables'] & string>(name: T): Table<S, T> {
    const change = async (statement: () => BoundStatement): Promise<Written<number[]>> => {
      const core = await this.#open()
      return core.batch([statement()])
    }
    const counted = async (statement: () => BoundStatement): Promise<Written<number>> =>
      withValue(await change(statement), ([count = 0]) => count)
    return {
      insert: async (row) => {
        const { id, ...statement } = insertOf(this.#schema, name, row)
        return withValue(await change(() => statement), () => id)
      },
      update: (id, patch) => counted(() => updateOf(this.#schema, name, id, patch)),
      delete: (id) => counted(() => deleteOf(name, id)),
      get: async (id) => {
        const [row] = await this.query<RowOf<S, T>>({ sql: selectById(this.#schema, name), params: [id] })
        return row ?? null
      },
    }
  }
}

/** What becomes of it may be asked for only when it is read. */
function withValue<A, B>(written: Written<A>, value: (before: A) => B): Written<B> {
  return {
    id: written.id,
    value: value(written.value),
    get accepted() {
      return written.accepted
    },
    get confirmed() {
      return written.confirmed
    },
  }
}

const NO_SCHEMA: TypedSchema = { tables: {} }

const unopened = (kind: StorageStatus['kind']): DatabaseStatus => ({
  state: 'opening',
  storage: { kind, state: 'opening' },
  lastSyncedAt: null,
  comparing: null,
  upload: { state: 'idle', pending: 0, unconfirmed: 0, failed: 0, oldestUnsentAt: null },
})

/** A database whose tables are its members too, where their names are free. */
export type Rockpool<S extends TypedSchema> = Database<S> & {
  readonly [T in Exclude<keyof S['tables'], keyof Database<S>>]: Table<S, T>
}

export function withTables<S extends TypedSchema>(database: Database<S>): Rockpool<S> {
  for (const [name, value] of Object.entries(database.tables))
    if (!(name in database)) Object.defineProperty(database, name, { value })
  return database as Rockpool<S>
}
