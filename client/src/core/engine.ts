import type {
  FailedWrite,
  Row,
  SqlParam,
  Status,
  SyncDatabase,
  SyncEvents,
  SyncOptions,
  SyncState,
  WaitOptions,
  WriteTransaction,
} from '../types.ts'
import { positions } from './buckets.ts'
import { Connection } from './connection.ts'
import { Download } from './download.ts'
import { LiveQueries } from './live.ts'
import * as outbox from './outbox.ts'
import { backoff, ProblemError, problemOf, sleep } from './problem.ts'
import { Renewal } from './renewal.ts'
import { applySchema } from './schema.ts'
import { bindable, readOnly, rollback, type Sqlite } from './sqlite.ts'
import { clientId, getNumber, migrate } from './storage.ts'
import { postTransaction, writeCheckpoint } from './uploader.ts'

/** A local transaction that pauses for so long is rolled back: everything else waits for it. */
const WRITE_PAUSE_MS = 10_000

const isAboutToken = (code: string): boolean => code === 'auth' || code.startsWith('PSYNC_S21')

/** The same in browsers and in Node: a local database that is kept in step. */
export class Engine implements SyncDatabase {
  readonly #db: Sqlite
  readonly #options: SyncOptions
  readonly #live: LiveQueries
  readonly #listeners: { [E in keyof SyncEvents]: Set<(value: SyncEvents[E]) => void> } = {
    status: new Set(),
    failedWrite: new Set(),
    mismatch: new Set(),
  }
  #state: SyncState = { state: 'offline' }
  #status: Status
  /** One at a time: local transactions, applying, everything that writes. */
  #turn: Promise<void> = Promise.resolve()
  #online: AbortController | null = null
  #running: Promise<unknown> = Promise.resolve()
  #uploadWanted: () => void = () => {}
  readonly #storage: Status['storage']

  constructor(db: Sqlite, options: SyncOptions, storage: Status['storage']) {
    this.#db = db
    this.#options = options
    this.#storage = storage
    migrate(db)
    applySchema(db, options.schema)
    this.#live = new LiveQueries(db, options.schema)
    this.#status = this.#newStatus()
    if (options.connect !== false) void this.connect()
  }

  get status(): Status {
    return this.#status
  }

  async query<T extends object = Row>(sql: string, params: readonly SqlParam[] = []): Promise<T[]> {
    return this.#exclusive(() => readOnly(this.#db, () => this.#rows<T>(sql, params)))
  }

  live<T extends object = Row>(
    sql: string,
    params: readonly SqlParam[],
    callback: (rows: T[]) => void,
    onError: (error: Error) => void = (error) => console.error(error),
  ): () => void {
    return this.#live.add(sql, params, (rows) => callback(rows as T[]), onError)
  }

  async write<T>(change: (tx: WriteTransaction) => T | Promise<T>): Promise<T> {
    return this.#exclusive(async () => {
      this.#db.run('BEGIN IMMEDIATE')
      let open = true
      const check = (): void => {
        if (!open) throw new ProblemError('storage', 'this transaction is over')
      }
      let timer: ReturnType<typeof setTimeout> | undefined
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new ProblemError('storage', 'a transaction took too long and was rolled back')), WRITE_PAUSE_MS)
      })
      try {
        const id = outbox.beginWrite(this.#db)
        const tx: WriteTransaction = {
          execute: async (sql, params = []) => {
            check()
            return { changes: this.#db.run(sql, bindable(params)) }
          },
          query: async <R extends object = Row>(sql: string, params: readonly SqlParam[] = []) => {
            check()
            return this.#rows<R>(sql, params)
          },
        }
        const result = await Promise.race([change(tx), late])
        open = false
        const changed = outbox.endWrite(this.#db, id)
        this.#db.run('COMMIT')
        this.#changed(changed)
        this.#uploadWanted()
        return result
      } catch (error) {
        open = false
        rollback(this.#db)
        throw error
      } finally {
        clearTimeout(timer)
      }
    })
  }

  on<E extends keyof SyncEvents>(event: E, listener: (value: SyncEvents[E]) => void): () => void {
    this.#listeners[event].add(listener)
    return () => void this.#listeners[event].delete(listener)
  }

  waitForSync(options: WaitOptions = {}): Promise<void> {
    return this.#waitFor((status) => status.lastSyncedAt !== null, options)
  }

  waitForUpload(options: WaitOptions = {}): Promise<void> {
    return this.#waitFor((status) => status.pendingWrites === 0 && status.unconfirmedWrites === 0, options)
  }

  async failedWrites(): Promise<FailedWrite[]> {
    return this.#exclusive(() => outbox.failedWrites(this.#db))
  }

  async dismissFailedWrites(transactionId?: number): Promise<void> {
    await this.#exclusive(() => outbox.dismissFailed(this.#db, transactionId))
    this.#tell()
  }

  async connect(): Promise<void> {
    const over = this.#end()
    const online = new AbortController()
    this.#online = online
    await over
    // Somebody has connected anew or disconnected meanwhile.
    if (online.signal.aborted) return
    this.#running = Promise.all([this.#downloadLoop(online.signal), this.#uploadLoop(online.signal)])
  }

  async disconnect(): Promise<void> {
    await this.#end()
    if (!this.#online) this.#setState({ state: 'offline' })
  }

  /** Resolves when nothing runs any more of what was connected. */
  async #end(): Promise<void> {
    this.#online?.abort()
    this.#online = null
    await this.#running
  }

  async close(): Promise<void> {
    await this.disconnect()
    await this.#exclusive(() => this.#db.close())
  }

  async #downloadLoop(signal: AbortSignal): Promise<void> {
    for (let attempt = 0; !signal.aborted;) {
      this.#setState({ state: 'connecting' })
      try {
        await this.#connectOnce(signal, () => (attempt = 0))
      } catch (error) {
        if (signal.aborted) return
        const wait = backoff(++attempt)
        const problem = problemOf(error)
        if (isAboutToken(problem.code)) this.#setState({ state: 'needs-auth', error: problem })
        else this.#setState({ state: 'error', error: problem, retryAt: Date.now() + wait })
        await sleep(wait, signal)
      }
    }
  }

  async #connectOnce(signal: AbortSignal, worked: () => void): Promise<void> {
    const token = await this.#token()
    const request = await this.#exclusive(() => ({
      buckets: positions(this.#db),
      client_id: clientId(this.#db),
      parameters: this.#options.parameters ?? {},
      raw_data: true,
      include_checksum: true,
    }))
    const over = new AbortController()
    let before: SyncState | null = null
    const renewal = new Renewal({
      token: () => this.#token(),
      send: (fresh) => connection.renew(fresh),
      // The stream goes on until the token has expired.
      failed: (error) => {
        if (this.#state.state !== 'needs-auth') before = this.#state
        this.#setState({ state: 'needs-auth', error: problemOf(error, 'auth') })
      },
      renewed: () => {
        if (before && this.#state.state === 'needs-auth') this.#setState(before)
      },
      signal: AbortSignal.any([signal, over.signal]),
    })
    const download = new Download(this.#db, this.#options.schema, {
      changed: (tables) => this.#changed(tables),
      progress: (progress) => this.#setState({ state: 'syncing', progress }),
      complete: () => {
        worked()
        this.#setState({ state: 'live' })
      },
      mismatch: (bucket) => this.#emit('mismatch', { bucket }),
      expires: (seconds) => renewal.expires(seconds),
    })
    const connection = new Connection({
      ...{ url: this.#options.url, token, request, signal },
      line: (line) => this.#exclusive(() => download.line(line)),
    })
    try {
      await connection.run()
    } finally {
      over.abort()
    }
  }

  /** Uploads the queue in order, then asks for the write checkpoint that confirms it. */
  async #uploadLoop(signal: AbortSignal): Promise<void> {
    if (!this.#options.upload && this.#options.uploadUrl === undefined) return
    for (let attempt = 0; !signal.aborted;) {
      const wanted = new Promise<void>((resolve) => {
        this.#uploadWanted = resolve
        signal.addEventListener('abort', () => resolve(), { once: true })
      })
      try {
        await this.#uploadAll(signal)
        attempt = 0
        await wanted
      } catch {
        // It is tried again; what is pending is in the status.
        await sleep(backoff(++attempt), signal)
      }
    }
  }

  async #uploadAll(signal: AbortSignal): Promise<void> {
    const { upload, uploadUrl } = this.#options
    while (!signal.aborted) {
      const transaction = await this.#exclusive(() => outbox.nextUpload(this.#db))
      if (!transaction) break
      const token = await this.#token()
      const result = upload
        ? await upload(transaction, { token, signal })
        : await postTransaction(uploadUrl ?? '', transaction, token, signal)
      const id = transaction.transaction_id
      if (result.result === 'accepted') await this.#exclusive(() => outbox.accepted(this.#db, id))
      else {
        const error = { code: result.code, message: result.message }
        const changed = await this.#exclusive(() => outbox.rejected(this.#db, this.#options.schema, id, error))
        this.#changed(changed)
        this.#emit('failedWrite', { transactionId: id, failedAt: Date.now(), error, ops: transaction.ops })
      }
      this.#tell()
    }
    const upTo = await this.#exclusive(() => outbox.unconfirmedUpTo(this.#db))
    if (upTo === null || signal.aborted) return
    const n = await writeCheckpoint(this.#options, clientId(this.#db), await this.#token(), signal)
    this.#changed(await this.#exclusive(() => outbox.setTarget(this.#db, this.#options.schema, upTo, n)))
  }

  async #token(): Promise<string> {
    try {
      return await this.#options.auth()
    } catch (cause) {
      throw new ProblemError('auth', cause instanceof Error ? cause.message : String(cause), { cause })
    }
  }

  #rows<T extends object>(sql: string, params: readonly SqlParam[]): T[] {
    return this.#db.all(sql, bindable(params)) as T[]
  }

  async #exclusive<T>(work: () => T | Promise<T>): Promise<T> {
    const before = this.#turn
    const mine = Promise.withResolvers<void>()
    this.#turn = mine.promise
    await before
    try {
      return await work()
    } finally {
      mine.resolve()
    }
  }

  #changed(tables: ReadonlySet<string>): void {
    if (tables.size > 0) this.#live.changed(tables)
    this.#tell()
  }

  #setState(state: SyncState): void {
    this.#state = state
    this.#tell()
  }

  #tell(): void {
    const status = this.#newStatus()
    if (JSON.stringify(status) === JSON.stringify(this.#status)) return
    this.#status = status
    this.#emit('status', status)
  }

  #newStatus(): Status {
    const { pending, unconfirmed, failed } = outbox.counts(this.#db)
    return {
      ...this.#state,
      pendingWrites: pending,
      unconfirmedWrites: unconfirmed,
      failedWrites: failed,
      lastSyncedAt: getNumber(this.#db, 'last_synced_at'),
      storage: this.#storage,
    }
  }

  #emit<E extends keyof SyncEvents>(event: E, value: SyncEvents[E]): void {
    for (const listener of this.#listeners[event]) listener(value)
  }

  #waitFor(reached: (status: Status) => boolean, { signal, timeout }: WaitOptions): Promise<void> {
    if (reached(this.#status)) return Promise.resolve()
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted()
      const done = (finish: () => void): void => {
        clearTimeout(timer)
        off()
        finish()
      }
      const off = this.on('status', (status) => reached(status) && done(resolve))
      const timer = timeout === undefined ? undefined : setTimeout(() => done(() => reject(new Error('it took too long'))), timeout)
      signal?.addEventListener('abort', () => done(() => reject(signal.reason)), { once: true })
    })
  }
}
