import type {
  FailedWrite,
  Row,
  SignOutOptions,
  SqlParam,
  Status,
  SyncDatabase,
  SyncEvents,
  SyncOptions,
  WaitOptions,
  WriteTransaction,
} from '../types.ts'
import { checkAddress } from './address.ts'
import { Board } from './board.ts'
import { openDownload } from './download.ts'
import { Downloading } from './downloading.ts'
import { Listeners } from './listeners.ts'
import { LiveQueries } from './live.ts'
import * as outbox from './outbox.ts'
import { ProblemError, problemOf } from './problem.ts'
import { applySchema } from './schema.ts'
import { bindable, readOnly, type Sqlite } from './sqlite.ts'
import { getText, migrate, put } from './storage.ts'
import { identify, Tokens, type Identity } from './token.ts'
import { Turn } from './turn.ts'
import { Unsynced } from './unsynced.ts'
import { Uploading } from './uploading.ts'
import { otherUser, User } from './user.ts'
import { hasSynced, hasUploaded, waitFor } from './wait.ts'
import { Wake } from './wake.ts'
import { wipeRows } from './wipe.ts'
import { localWrite } from './write.ts'

/** Where the database lies. */
export interface Storage {
  kind: Status['storage']
  setAside?: Status['setAside']
  /** Deletes the closed file, and what was set aside. */
  erase?(): Promise<void>
}

export interface EngineOptions extends SyncOptions {
  /** Takes the place of `auth` and `subject` where these are in another thread. */
  identify?(): Promise<Identity>
}

/** Without `user` the database is shown when a token has said whose it is, or none has come for so long. */
const IDENTIFY_MS = 5_000

/**
 * The same in browsers and in Node: a local database that is kept in step. The file is long
 * because it puts all the parts together.
 */
export class Engine implements SyncDatabase {
  /** Resolves when it may be read. */
  readonly opened: Promise<void>
  readonly #db: Sqlite
  readonly #options: EngineOptions
  readonly #storage: Storage
  readonly #listeners = new Listeners<SyncEvents>()
  readonly #turn = new Turn()
  readonly #wake = new Wake()
  readonly #live: LiveQueries
  readonly #board: Board
  readonly #user: User
  readonly #tokens: Tokens
  readonly #downloading: Downloading
  readonly #uploading: Uploading
  #online: AbortController | null = null
  #running: Promise<unknown> = Promise.resolve()
  #closed = false

  constructor(db: Sqlite, options: EngineOptions, storage: Storage) {
    checkAddress(options.url, options.allowHttp)
    if (options.uploadUrl !== undefined) checkAddress(options.uploadUrl, options.allowHttp)
    this.#db = db
    this.#options = options
    this.#storage = storage
    migrate(db)
    this.#user = new User({ get: () => getText(db, 'user'), put: (user) => put(db, 'user', user) }, options.user)
    applySchema(db, options.schema)
    this.#live = new LiveQueries(options.schema, {
      rows: (sql, params) => this.#rows(sql, params),
      turn: (work) => this.#exclusive(work),
    })
    this.#board = new Board(db, { storage: storage.kind, setAside: storage.setAside ?? null }, (status) =>
      this.#listeners.emit('status', status),
    )
    this.#tokens = new Tokens({
      identify: () => (options.identify ? options.identify() : identify(options)),
      accept: (subject) => this.#accept(subject),
    })
    const parts = {
      db,
      options,
      tokens: this.#tokens,
      wake: this.#wake,
      turn: <T>(work: () => T) => this.#exclusive(work),
      changed: (tables: ReadonlySet<string>) => this.#changed(tables),
    }
    const downloaded = {
      changed: parts.changed,
      mismatch: (bucket: string) => this.#listeners.emit('mismatch', { bucket }),
    }
    const unsynced = new Unsynced(db, options.schema)
    this.#downloading = new Downloading({
      ...parts,
      url: options.url,
      open: (events) => openDownload(db, options, { ...events, ...downloaded }),
      complete: (first) => this.#board.setUnsynced(unsynced.look(first)),
      state: () => this.#board.state,
      setState: (state) => this.#board.setState(state),
      comparing: (fraction) => this.#board.setComparing(fraction),
    })
    this.#uploading = new Uploading({
      ...parts,
      failedWrite: (write) => this.#listeners.emit('failedWrite', write),
      told: (problem) => this.#board.setUpload(problem),
    })
    const ask = options.connect !== false && options.user === undefined && this.#user.bound !== null
    if (options.connect !== false) void this.connect()
    this.opened = ask ? this.#known() : Promise.resolve()
  }

  get status(): Status {
    return this.#board.status
  }

  /** Whose it is; null until that is known. */
  get user(): string | null {
    return this.#user.bound
  }

  async query<T extends object = Row>(sql: string, params: readonly SqlParam[] = []): Promise<T[]> {
    return this.#exclusive(() => this.#rows(sql, params) as T[])
  }

  live<T extends object = Row>(
    sql: string,
    params: readonly SqlParam[],
    callback: (rows: T[]) => void,
    onError: (error: Error) => void = (error) => console.error(error),
  ): () => void {
    return this.#live.add(sql, params, (rows) => callback(rows as T[]), onError)
  }

  write<T>(change: (tx: WriteTransaction) => T | Promise<T>, request: string | null = null): Promise<T> {
    return this.#exclusive(async () => {
      this.#user.check()
      const { result, changed } = await localWrite(this.#db, change, request)
      this.#changed(changed)
      this.#uploading.want()
      return result
    })
  }

  /** Whether the write of this request was committed. */
  wasStored(request: string): Promise<boolean> {
    return this.#exclusive(() => outbox.wasStored(this.#db, request))
  }

  on<E extends keyof SyncEvents>(event: E, listener: (value: SyncEvents[E]) => void): () => void {
    return this.#listeners.on(event, listener)
  }

  waitForSync(options: WaitOptions = {}): Promise<void> {
    return waitFor(this, hasSynced, options)
  }

  waitForUpload(options: WaitOptions = {}): Promise<void> {
    return waitFor(this, hasUploaded, options)
  }

  failedWrites(): Promise<FailedWrite[]> {
    return this.#exclusive(() => {
      this.#user.check()
      return outbox.failedWrites(this.#db)
    })
  }

  dismissFailedWrites(transactionId?: number): Promise<void> {
    return this.#exclusive(() => {
      this.#user.check()
      outbox.dismissFailed(this.#db, transactionId)
      this.#board.recount()
    })
  }

  retryFailedWrite(transactionId: number): Promise<void> {
    return this.#exclusive(() => {
      this.#user.check()
      this.#changed(outbox.retryFailed(this.#db, this.#options.schema, transactionId))
      this.#uploading.want()
    })
  }

  async connect(): Promise<void> {
    if (this.#closed) throw closed()
    const over = this.#end()
    const online = new AbortController()
    this.#online = online
    await over
    // Somebody has connected anew or disconnected meanwhile.
    if (online.signal.aborted) return
    if (this.#user.foreign) return this.#board.setState({ state: 'needs-auth', error: problemOf(otherUser()) })
    this.#running = Promise.all([this.#downloading.run(online.signal), this.#uploading.run(online.signal)])
  }

  async disconnect(): Promise<void> {
    await this.#end()
    if (!this.#online) this.#board.setState({ state: 'offline' })
  }

  /** The device may have slept, or is online again. */
  wake(): void {
    this.#wake.now()
  }

  async signOut({ unsent = 'refuse', keepRows = false, ...wait }: SignOutOptions = {}): Promise<void> {
    if (keepRows) return this.close()
    if (unsent === 'wait') {
      this.#user.check()
      await waitFor(this, (status) => status.pendingWrites === 0, wait)
    }
    await this.#empty(unsent !== 'discard')
  }

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
      try {
        wipeRows(this.#db)
      } catch (error) {
        // Of a damaged database the file goes as a whole.
        if (ask) throw error
        console.warn('rockpool: the database could not be emptied', error)
      }
      this.#shut()
    })
    await this.#running
    await this.#storage.erase?.()
  }

  #refuseUnsent(): void {
    const { pending, failed } = outbox.counts(this.#db)
    const { setAside } = this.#board.status
    if (pending + failed === 0 && setAside === null) return
    const what =
      setAside === null
        ? `${pending} writes are not sent, ${failed} were refused`
        : `a damaged database is kept: ${setAside.message}`
    throw new ProblemError('unsent', `${what}: upload or dismiss them, or say unsent: 'discard'`)
  }

  /** The caller has the turn. */
  #shut(): void {
    this.#closed = true
    // Somebody may have connected meanwhile.
    this.#online?.abort()
    this.#board.setState({ state: 'closed' })
    this.#db.close()
  }

  /** Resolves when nothing runs any more of what was connected. */
  async #end(): Promise<void> {
    this.#online?.abort()
    this.#online = null
    await this.#running
  }

  async #known(): Promise<void> {
    const given = new AbortController()
    const timer = setTimeout(() => given.abort(), IDENTIFY_MS)
    await this.#tokens.get(given.signal).catch(() => {})
    clearTimeout(timer)
  }

  /** A token has come. Before anything uses it, it is known to be for this database. */
  async #accept(subject: string): Promise<void> {
    const changed = await this.#exclusive(() => this.#user.token(subject))
    if (changed) void this.#live.refresh().catch(() => {})
    this.#user.check()
  }

  #rows(sql: string, params: readonly SqlParam[]): Row[] {
    this.#user.check()
    return readOnly(this.#db, () => this.#db.application.all(sql, bindable(params)))
  }

  #exclusive<T>(work: () => T | Promise<T>): Promise<T> {
    return this.#turn.run(() => {
      if (this.#closed) throw closed()
      return work()
    })
  }

  /** The caller has the turn. */
  #changed(tables: ReadonlySet<string>): void {
    if (tables.size > 0) this.#live.changed(tables)
    this.#board.recount()
  }
}

const closed = (): ProblemError => new ProblemError('closed', 'the database is closed')
