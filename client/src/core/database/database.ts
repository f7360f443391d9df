import type { Sqlite } from '../../sqlite/sqlite.ts'
import type { SignOutOptions, SqlParam, SyncState, WaitOptions } from '../../types.ts'
import type { OpenSocket } from '../connection.ts'
import { Downloading, type LineEvents, type Stream } from '../downloading.ts'
import { Listeners } from '../listeners.ts'
import { LiveRegistry, type LiveListener } from '../live/registry.ts'
import { clientId } from '../outbox/request.ts'
import { dismiss, edit, failedTransactions, retry, type FailedTransaction } from '../outbox/failed.ts'
import { Sender } from '../outbox/sender.ts'
import type { UploadResponse } from '../outbox/answer.ts'
import { uuid7 } from '../outbox/uuid.ts'
import { ProblemError, problemOf, sqliteCode } from '../problem.ts'
import { fateOfCall } from '../store/fates.ts'
import { deriveRows } from '../store/derive.ts'
import { positions } from '../store/incoming.ts'
import { get, openLayout, put } from '../store/layout.ts'
import { applySchema } from '../store/schema.ts'
import type { StoredTable, StoreSchema } from '../store/tables.ts'
import { Lines, type StreamStatus } from '../sync/lines.ts'
import { StreamUse, type OpenStream } from '../sync/stream-use.ts'
import { subscriptions, type Wanted } from '../sync/streams.ts'
import { Tokens, type Identity } from '../token.ts'
import { Turn } from '../turn.ts'
import { otherUser, User } from '../user.ts'
import { Wake } from '../wake.ts'
import { FateWatch, type WrittenPromises } from './fate-watch.ts'
import { bindable } from '../sqlite.ts'
import { localWrite } from './local-write.ts'
import type {
  BoundStatement,
  DatabaseEvents,
  DatabasePort,
  LocalTransaction,
  QueryResult,
  WriteOptions,
  Written,
} from './port.ts'
import {
  StatusBoard,
  type ConnectionStatus,
  type DatabaseStatus,
  type QueueCounts,
  type StorageFacts,
  type StorageStatus,
} from './status.ts'
import { UnsentRisk } from './unsent-risk.ts'
import type { StoredOp } from '../store/ops.ts'
import { closed, until } from './until.ts'

// A local database that is kept in step, over the storage in `core/store/`: the same in a worker and in Node. It only
// puts the parts together; whoever owns the file makes it. The file is long because it wires all of them.

/** The status is told once in so many milliseconds at most. */
const FRAME_MS = 16
/**
 * A local write is on the disk after so many milliseconds at most; it survives the end of the process from the
 * beginning.
 */
const FLUSH_MS = 250
/** How often the database looks whether an unsent write is in danger. */
const RISK_LOOK_MS = 60_000
const SQLITE_INTERRUPT = 9
/** Space that a line may need, with its indexes. */
const RESERVED_BYTES = 1 << 20

export interface DatabaseOptions {
  db: Sqlite
  kind: StorageStatus['kind']
  /** What was committed is on the disk when it returns. */
  flush(): void
  schema: StoreSchema
  /**
   * Takes space for so many bytes before a download stores them, so that local writes still fit. Throws ProblemError
   * `storage_full`.
   */
  reserve?(bytes: number): void
  /** Runs when the tables are there, before anything is read or sent. */
  prepare?(tables: ReadonlyMap<string, StoredTable>): void
  /** Deletes the closed file. */
  erase?(): Promise<void>
  /** The browser deletes the file when nobody visits the site for some days. */
  isEvicted?: boolean
  /** Of the sync service. */
  url: string
  /** Opens the connection to it. Default: a WebSocket. */
  socket?: OpenSocket
  identify(): Promise<Identity>
  user?: string
  /** Null: writes wait in the queue. */
  post: ((body: string, token: string, signal: AbortSignal) => Promise<UploadResponse>) | null
  checkpoint(clientId: string, token: string, signal: AbortSignal): Promise<number>
  parameters?: Record<string, unknown>
}

/** `call`: a name by which the caller may ask later what became of it. */
export interface NamedWriteOptions extends WriteOptions {
  call?: string
}

export class LocalDatabase implements DatabasePort {
  readonly opened = Promise.resolve()
  readonly tables: ReadonlyMap<string, StoredTable>
  readonly #with: DatabaseOptions
  readonly #db: Sqlite
  readonly #listeners = new Listeners<DatabaseEvents>()
  readonly #turn = new Turn()
  readonly #wake = new Wake()
  readonly #board: StatusBoard
  readonly #user: User
  readonly #tokens: Tokens
  readonly #live: LiveRegistry
  readonly #fates: FateWatch
  readonly #downloading: Downloading
  readonly #sender: Sender
  readonly #use: StreamUse
  #streams: () => readonly StreamStatus[] = () => []
  #shown = -1
  #flushing: ReturnType<typeof setTimeout> | null = null
  #watching: ReturnType<typeof setInterval> | null = null
  #online: AbortController | null = null
  #running: Promise<unknown> = Promise.resolve()
  #closed = false

  constructor(options: DatabaseOptions) {
    const { db } = (this.#with = options)
    this.#db = db
    openLayout(db)
    this.tables = applySchema(db, options.schema)
    options.prepare?.(this.tables)
    this.#user = new User(
      { get: () => textOrNull(get(db, 'user')), put: (user) => put(db, 'user', user) },
      options.user,
    )
    this.#fates = new FateWatch(db)
    this.#board = new StatusBoard(
      options.kind,
      (status) => this.#listeners.emit('status', status),
      (work) => void setTimeout(work, FRAME_MS),
    )
    this.#live = new LiveRegistry({
      prepare: (sql) => this.#readable(sql),
      turn: (work) => this.#exclusive(work),
      later: (work, milliseconds) => {
        const timer = setTimeout(work, milliseconds)
        return () => clearTimeout(timer)
      },
    })
    this.#tokens = new Tokens({ identify: () => options.identify(), accept: (subject) => this.#accept(subject) })
    this.#downloading = this.#newDownloading()
    this.#sender = this.#newSender()
    this.#use = new StreamUse({
      db,
      turn: (work) => this.#exclusive(work),
      changed: () => this.#downloading.reconnect(),
    })
    this.#board.setStorage({ kind: options.kind, state: 'ok' })
    this.#board.setConnection({ state: 'offline' })
    this.#recount()
    if (options.isEvicted) this.#watchRisk()
  }

  #watchRisk(): void {
    const risk = new UnsentRisk()
    this.#watching = setInterval(() => {
      const oldestUnsentAt = risk.look(this.status, Date.now())
      if (oldestUnsentAt !== null) this.#listeners.emit('unsentAtRisk', { oldestUnsentAt })
    }, RISK_LOOK_MS)
  }

  get status(): DatabaseStatus {
    return this.#board.status
  }

  /** Whose database it is; null: nobody's yet. */
  get user(): string | null {
    return this.#user.bound
  }

  on<E extends keyof DatabaseEvents>(event: E, listener: (value: DatabaseEvents[E]) => void): () => void {
    return this.#listeners.on(event, listener)
  }

  /**
   * Reads. A statement that writes is refused. `timeout`: milliseconds that it may run, after which it throws
   * `timeout`; Node's SQLite cannot be interrupted.
   */
  query(sql: string, params: readonly SqlParam[] = [], timeout?: number): Promise<QueryResult> {
    return this.#exclusive(() => {
      const statement = this.#readable(sql)
      if (!statement.isReadOnly) throw new ProblemError('statement', 'a query only reads')
      const rows =
        timeout === undefined
          ? statement.all(bindable(params))
          : this.#briefly(timeout, () => statement.all(bindable(params)))
      return { rows, columns: statement.columns() }
    })
  }

  #briefly<T>(milliseconds: number, work: () => T): T {
    const end = performance.now() + milliseconds
    this.#db.interruptWhen(() => performance.now() > end)
    try {
      return work()
    } catch (error) {
      throw sqliteCode(error) === SQLITE_INTERRUPT
        ? new ProblemError('timeout', 'the query took too long', { cause: error })
        : error
    } finally {
      this.#db.interruptWhen(null)
    }
  }

  follow(sql: string, params: readonly SqlParam[], listener: LiveListener): () => void {
    return this.#live.follow(sql, bindable(params), listener)
  }

  write<T>(change: (tx: LocalTransaction) => T | Promise<T>, options: NamedWriteOptions = {}): Promise<Written<T>> {
    return this.#exclusive(() => this.#write(change, options, null))
  }

  /** A repeat of a call changes nothing, and gets the answer that the first got. */
  batch(statements: readonly BoundStatement[], options: NamedWriteOptions = {}): Promise<Written<number[]>> {
    return this.#exclusive(async () => {
      this.#user.check()
      const before = options.call === undefined ? null : fateOfCall(this.#db, options.call)
      if (before) return { id: before.id, value: before.value, ...this.#fates.watch(before.id) }
      const changes: number[] = []
      const run = async (tx: LocalTransaction): Promise<number[]> => {
        for (const { sql, params } of statements) changes.push((await tx.execute(sql, params)).changes)
        return changes
      }
      return this.#write(run, options, () => changes)
    })
  }

  /** The write that was stored under this name, with what a batch was answered; null: none was. */
  stored(call: string): Promise<{ id: string; value: number[] } | null> {
    return this.#exclusive(() => fateOfCall(this.#db, call))
  }

  async fate(call: string): Promise<string | null> {
    return (await this.stored(call))?.id ?? null
  }

  /** The caller has the turn. `answer`: what a repeat of the call is told. */
  async #write<T>(
    change: (tx: LocalTransaction) => T | Promise<T>,
    { call, signal }: NamedWriteOptions,
    answer: (() => number[]) | null,
  ): Promise<Written<T>> {
    this.#user.check()
    const now = Date.now()
    const id = uuid7(now)
    const { value, changed } = await this.#stored(() =>
      localWrite(this.#db, { id, call: call ?? null, now, answer, ...(signal ? { signal } : {}) }, change),
    )
    this.#changed(changed)
    this.#sender.want()
    this.#flushSoon()
    return { id, value, ...this.#fates.watch(id) }
  }

  /** What becomes of a write, also of one of an earlier session. */
  transaction(id: string): Promise<WrittenPromises> {
    // Promises in an object: one that is returned by itself would be waited for.
    return this.#exclusive(() => ({ ...this.#fates.watch(id) }))
  }

  failed(): Promise<FailedTransaction[]> {
    return this.#exclusive(() => {
      this.#user.check()
      return failedTransactions(this.#db)
    })
  }

  /**
   * Sends a failed write again, and all that build on it. Answers the ids of the new transactions by those of the old
   * ones.
   */
  async retry(id: string): Promise<Map<string, string>> {
    return this.#again(() => retry(this.#db, this.tables, id, Date.now()))
  }

  /**
   * Sends these ops in the place of a failed write. Answers the id of the new transaction; null when that write is not
   * in the list.
   */
  async edit(id: string, ops: readonly StoredOp[]): Promise<string | null> {
    return this.#again(() => edit(this.#db, this.tables, id, ops, Date.now()))
  }

  /** Forgets a failed write; null: all of them. */
  dismiss(id: string | null): Promise<void> {
    return this.#exclusive(() => {
      this.#user.check()
      this.#db.transaction(() => dismiss(this.#db, id))
      this.#recount()
    })
  }

  stream(wanted: Wanted): Promise<OpenStream> {
    return this.#use.open(wanted)
  }

  /** Priorities up to it were shown whole in this session; -1: none, Infinity: all. */
  get shown(): number {
    return this.#shown
  }

  /** How the streams are doing in this connection. */
  get streams(): readonly StreamStatus[] {
    return this.#streams()
  }

  async connect(): Promise<void> {
    if (this.#closed) throw closed()
    const over = this.#end()
    const online = new AbortController()
    this.#online = online
    await over
    // Somebody has connected anew or disconnected meanwhile.
    if (online.signal.aborted) return
    if (this.#user.foreign) return this.#board.setConnection({ state: 'needs-auth', error: problemOf(otherUser()) })
    this.#running = Promise.all([
      this.#downloading.run(online.signal),
      this.#with.post === null ? null : this.#sender.run(online.signal),
    ])
  }

  async disconnect(): Promise<void> {
    await this.#end()
    if (!this.#online) this.#board.setConnection({ state: 'offline' })
  }

  /** What the browser says of its space, and whether it may delete the file. */
  told(of: StorageFacts): void {
    this.#board.setStorage({ ...this.#board.status.storage, ...of })
  }

  /** The device may have slept, or is online again. */
  wake(): void {
    this.#wake.now()
  }

  until(reached: (status: DatabaseStatus) => boolean, options?: WaitOptions): Promise<void> {
    return until(this, reached, options)
  }

  /** Deletes the database, and closes it. What is unsent is not deleted unasked: see `SignOutOptions`. */
  async signOut({ unsent = 'refuse', keepRows = false, ...wait }: SignOutOptions = {}): Promise<void> {
    if (keepRows) return this.close()
    if (unsent === 'wait') {
      this.#user.check()
      await this.until(({ upload }) => upload.pending === 0, wait)
    }
    await this.#empty(unsent !== 'discard')
  }

  /** The same, whosever it is and whatever is unsent. */
  wipe(): Promise<void> {
    return this.#empty(false)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    await this.#end()
    if (this.#closed) return
    await this.#exclusive(() => this.#shut())
  }

  /** `ask`: not when something is unsent. From the look at the queue to the end nobody else has the turn. */
  async #empty(ask: boolean): Promise<void> {
    await this.#exclusive(() => {
      if (ask) this.#refuseUnsent()
      this.#shut()
    })
    await this.#running
    await this.#with.erase?.()
  }

  #refuseUnsent(): void {
    this.#recount()
    const { pending, failed } = this.#board.status.upload
    if (pending + failed > 0)
      throw new ProblemError(
        'unsent',
        `${pending} writes are not sent, ${failed} were refused: upload or dismiss them, or say unsent: 'discard'`,
      )
  }

  /** The caller has the turn. */
  #shut(): void {
    this.#closed = true
    this.#use.end()
    if (this.#flushing !== null) clearTimeout(this.#flushing)
    if (this.#watching !== null) clearInterval(this.#watching)
    // Somebody may have connected meanwhile.
    this.#online?.abort()
    this.#board.setConnection({ state: 'closed' })
    this.#db.close()
  }

  #newDownloading(): Downloading {
    return new Downloading({
      url: this.#with.url,
      socket: this.#with.socket,
      tokens: this.#tokens,
      wake: this.#wake,
      turn: (work) => this.#exclusive(() => this.#stored(work)),
      open: (events) => this.#connection(events),
      complete: () => this.#recount(),
      state: () => syncState(this.#board.connection),
      setState: (state) => this.#board.setConnection(state),
      comparing: (fraction) => this.#board.setComparing(fraction),
    })
  }

  #newSender(): Sender {
    return new Sender({
      db: this.#db,
      wake: this.#wake,
      tables: () => this.tables,
      flush: () => this.#with.flush(),
      turn: (work) => this.#exclusive(() => this.#stored(work)),
      post: async (body, signal) => {
        if (this.#with.post === null) throw new ProblemError('network', 'there is no uploader')
        return this.#with.post(body, await this.#tokens.get(signal), signal)
      },
      refused: () => this.#tokens.forget(),
      checkpoint: async (client, signal) => this.#with.checkpoint(client, await this.#tokens.get(signal), signal),
      isLive: () => this.#board.connection.state === 'live',
      changed: (tables) => this.#changed(tables),
      failed: (transactions) => this.#listeners.emit('failed', transactions),
      reset: () => this.#listeners.emit('clientReset', {}),
      state: (state) => this.#board.setUpload(state),
      now: () => Date.now(),
      random: () => Math.random(),
    })
  }

  /** What a connection asks with, and what its lines do. The caller has the turn. */
  #connection(events: LineEvents): Stream {
    const own = subscriptions(this.#db)
    const lines = new Lines({
      db: this.#db,
      tables: this.tables,
      subscriptions: own,
      now: () => Date.now(),
      events: {
        ...events,
        changed: (tables) => this.#changed(tables),
        mismatch: (bucket) => this.#listeners.emit('mismatch', { bucket }),
        complete: (priority) => {
          this.#shown = Math.max(this.#shown, priority ?? Infinity)
          if (priority === null) events.complete()
        },
        streams: () => this.#listeners.emit('streams', this.#streams()),
      },
    })
    this.#streams = () => lines.streams()
    const request = {
      buckets: positions(this.#db),
      client_id: clientId(this.#db),
      parameters: this.#with.parameters ?? {},
      raw_data: true,
      include_checksum: true,
      streams: {
        include_defaults: true,
        subscriptions: own.map(({ name, parameters, priority }) => ({
          stream: name,
          parameters,
          override_priority: priority,
        })),
      },
    }
    const line: Stream['line'] = (each) => {
      this.#with.reserve?.(RESERVED_BYTES)
      lines.line(each)
    }
    return { request, line }
  }

  async #again<T>(work: () => T): Promise<T> {
    return this.#exclusive(() => {
      this.#user.check()
      const [result, changed] = this.#db.transaction((): [T, Set<string>] => [
        work(),
        deriveRows(this.#db, this.tables),
      ])
      this.#changed(changed)
      this.#sender.want()
      return result
    })
  }

  /** Resolves when nothing runs any more of what was connected. */
  async #end(): Promise<void> {
    this.#online?.abort()
    this.#online = null
    await this.#running
  }

  /** A token has come. Before anything uses it, it is known to be for this database. */
  async #accept(subject: string): Promise<void> {
    await this.#exclusive(() => {
      if (this.#user.token(subject)) this.#live.refresh()
    })
    this.#user.check()
  }

  #readable(sql: string): ReturnType<Sqlite['prepareForApplication']> {
    this.#user.check()
    return this.#db.prepareForApplication(sql)
  }

  #exclusive<T>(work: () => T | Promise<T>): Promise<T> {
    return this.#turn.run(() => {
      if (this.#closed) throw closed()
      return work()
    })
  }

  #flushSoon(): void {
    this.#flushing ??= setTimeout(() => {
      this.#flushing = null
      void this.#exclusive(() => this.#stored(() => this.#with.flush())).catch(() => {})
    }, FLUSH_MS)
  }

  /** What is wrong with the disk is said, and that it is well again. */
  async #stored<T>(work: () => T | Promise<T>): Promise<T> {
    const { kind } = this.#with
    try {
      const result = await work()
      if (this.#board.status.storage.state === 'full') this.#board.setStorage({ kind, state: 'ok' })
      return result
    } catch (error) {
      const { code, message } = problemOf(error)
      if (code === 'storage_full') this.#board.setStorage({ kind, state: 'full' })
      else if (code === 'storage_corrupt') this.#board.setStorage({ kind, state: 'corrupt', reason: message })
      throw error
    }
  }

  /** The caller has the turn. */
  #changed(tables: ReadonlySet<string>): void {
    if (tables.size > 0) this.#live.changed(tables)
    this.#fates.look()
    this.#recount()
  }

  #recount(): void {
    const [row] = this.#db
      .prepare(
        `SELECT (SELECT count(*) FROM rp_tx WHERE state <> 'accepted'), (SELECT count(*) FROM rp_tx WHERE state = 'accepted'),
          (SELECT count(*) FROM rp_failed WHERE next IS NULL), (SELECT min(made_at) FROM rp_tx WHERE state <> 'accepted')`,
      )
      .all()
    const [pending, unconfirmed, failed, oldest] = row ?? []
    const counts: QueueCounts = {
      pending: Number(pending),
      unconfirmed: Number(unconfirmed),
      failed: Number(failed),
      oldestUnsentAt: null,
    }
    this.#board.setCounts({ ...counts, oldestUnsentAt: typeof oldest === 'number' ? oldest : null })
    const synced = get(this.#db, 'last_synced_at')
    this.#board.setSynced(typeof synced === 'number' ? synced : null)
  }
}

const textOrNull = (value: string | number | null): string | null => (typeof value === 'string' ? value : null)

/** `opening` is none of a connection. */
function syncState(state: ConnectionStatus): SyncState {
  return state.state === 'opening' ? { state: 'offline' } : state
}
