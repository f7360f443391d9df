import { ProblemError } from './core/problem.ts'
import {
  channelName,
  tabLock,
  type Call,
  type OwnerMessage,
  type TabMessage,
  type WorkerInput,
  type WorkerOutput,
} from './browser/messages.ts'
import type { FailedWrite, Row, SqlParam, Status, SyncDatabase, SyncEvents, SyncOptions, WaitOptions, WriteTransaction } from './types.ts'

export type * from './types.ts'

export interface BrowserSyncOptions extends SyncOptions {
  /** The bundled `@rockpool/client/worker`, with `sqlite3.wasm` of `@sqlite.org/sqlite-wasm` beside it. Default `/worker.js`. */
  workerUrl?: string | URL
}

/** Opens the local database of this origin and keeps it in step. Resolves when it can be read. */
export async function openSync(options: BrowserSyncOptions): Promise<SyncDatabase> {
  const tab = new Tab(options)
  await tab.opened
  return tab
}

interface Pending {
  request: Call
  done: (result: unknown) => void
  failed: (error: Error) => void
}

/** A tab: everything happens in the worker of the tab that owns the database, which may be this one. */
class Tab implements SyncDatabase {
  readonly opened: Promise<void>
  readonly #options: BrowserSyncOptions
  readonly #id = crypto.randomUUID()
  readonly #channel: BroadcastChannel
  readonly #worker: Worker
  readonly #pending = new Map<number, Pending>()
  readonly #lives = new Map<
    number,
    { sql: string; params: readonly SqlParam[]; callback: (rows: Row[]) => void; onError: (error: Error) => void }
  >()
  readonly #listeners: { [E in keyof SyncEvents]: Set<(value: SyncEvents[E]) => void> } = {
    status: new Set(),
    failedWrite: new Set(),
    mismatch: new Set(),
  }
  #status: Status = { state: 'offline', pendingWrites: 0, unconfirmedWrites: 0, failedWrites: 0, lastSyncedAt: null, storage: 'memory' }
  #owner: string | null = null
  #last = 0
  #opened: () => void = () => {}
  #refused: (error: Error) => void = () => {}
  #release: () => void = () => {}

  constructor(options: BrowserSyncOptions) {
    this.#options = options
    const name = options.name ?? 'rockpool'
    this.opened = new Promise((opened, refused) => {
      this.#opened = opened
      this.#refused = refused
    })
    this.#channel = new BroadcastChannel(channelName(name))
    this.#channel.addEventListener('message', ({ data }: MessageEvent<OwnerMessage>) => this.#receive(data))
    void navigator.locks.request(tabLock(name, this.#id), () => new Promise<void>((release) => (this.#release = release)))
    this.#worker = new Worker(options.workerUrl ?? '/worker.js', { type: 'module' })
    this.#worker.addEventListener('message', ({ data }: MessageEvent<WorkerOutput>) => void this.#asked(data))
    this.#worker.addEventListener('error', (event) =>
      this.#refused(new ProblemError('storage', event.message || 'the worker could not be loaded')),
    )
    const { auth: _auth, upload, workerUrl: _workerUrl, ...open } = options
    const input: WorkerInput = { open, uploads: upload !== undefined }
    this.#worker.postMessage(input)
    this.#post({ to: 'owner', tab: this.#id, hello: true })
  }

  get status(): Status {
    return this.#status
  }

  query<T extends object = Row>(sql: string, params: readonly SqlParam[] = []): Promise<T[]> {
    return this.#call<T[]>({ call: 'query', sql, params })
  }

  live<T extends object = Row>(
    sql: string,
    params: readonly SqlParam[],
    callback: (rows: T[]) => void,
    onError: (error: Error) => void = (error) => console.error(error),
  ): () => void {
    const live = ++this.#last
    this.#lives.set(live, { sql, params, callback: (rows) => callback(rows as T[]), onError })
    this.#call({ call: 'live', live, sql, params }).catch(onError)
    return () => {
      this.#lives.delete(live)
      this.#call({ call: 'unlive', live }).catch(() => {})
    }
  }

  async write<T>(change: (tx: WriteTransaction) => T | Promise<T>): Promise<T> {
    const tx = await this.#call<number>({ call: 'begin' })
    try {
      const result = await change({
        execute: (sql, params = []) => this.#call({ call: 'execute', tx, sql, params }),
        query: (sql, params = []) => this.#call({ call: 'read', tx, sql, params }),
      })
      await this.#call({ call: 'commit', tx })
      return result
    } catch (error) {
      await this.#call({ call: 'rollback', tx }).catch(() => {})
      throw error
    }
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

  failedWrites(): Promise<FailedWrite[]> {
    return this.#call({ call: 'failedWrites' })
  }

  dismissFailedWrites(transactionId?: number): Promise<void> {
    return this.#call({ call: 'dismiss', id: transactionId })
  }

  disconnect(): Promise<void> {
    return this.#call({ call: 'disconnect' })
  }

  connect(): Promise<void> {
    return this.#call({ call: 'connect' })
  }

  async close(): Promise<void> {
    this.#worker.terminate()
    this.#channel.close()
    this.#release()
    for (const { failed } of this.#pending.values()) failed(new ProblemError('storage', 'the database was closed'))
    this.#pending.clear()
  }

  #receive(message: OwnerMessage): void {
    if (message.to !== 'tab' || ('tab' in message && message.tab !== undefined && message.tab !== this.#id)) return
    if ('status' in message) {
      const changed = this.#owner !== null && this.#owner !== message.owner
      this.#owner = message.owner
      this.#status = message.status
      if (changed) this.#newOwner()
      this.#opened()
      this.#emit('status', message.status)
    } else if ('failedWrite' in message) this.#emit('failedWrite', message.failedWrite)
    else if ('mismatch' in message) this.#emit('mismatch', message.mismatch)
    else if ('live' in message) {
      const live = this.#lives.get(message.live)
      if ('rows' in message) live?.callback(message.rows)
      else live?.onError(new ProblemError(message.problem.code, message.problem.message))
    } else {
      const pending = this.#pending.get(message.id)
      this.#pending.delete(message.id)
      if ('problem' in message) pending?.failed(new ProblemError(message.problem.code, message.problem.message))
      else pending?.done(message.result)
    }
  }

  /** The tab that owned the database has gone. What changes nothing is asked again; of a transaction nobody knows how far it came. */
  #newOwner(): void {
    for (const [id, { request, failed }] of [...this.#pending]) {
      if ('tx' in request) {
        this.#pending.delete(id)
        failed(new ProblemError('storage', 'the tab that owned the database has gone; it is not known whether the transaction was stored'))
      } else this.#post({ to: 'owner', tab: this.#id, id, request })
    }
    for (const [live, { sql, params, onError }] of this.#lives) this.#call({ call: 'live', live, sql, params }).catch(onError)
  }

  #call<T>(request: Call): Promise<T> {
    const id = ++this.#last
    return new Promise<T>((done, failed) => {
      this.#pending.set(id, { request, done: (result) => done(result as T), failed })
      this.#post({ to: 'owner', tab: this.#id, id, request })
    })
  }

  #post(message: TabMessage): void {
    this.#channel.postMessage(message)
  }

  async #asked(question: WorkerOutput): Promise<void> {
    if ('failed' in question) return this.#refused(new ProblemError('storage', question.failed))
    let answer: WorkerInput
    try {
      if ('auth' in question) answer = { answer: question.ask, token: await this.#options.auth() }
      else {
        const result = await this.#options.upload?.(question.upload, { token: question.token, signal: new AbortController().signal })
        if (!result) throw new ProblemError('network', 'there is no uploader')
        answer = { answer: question.ask, result }
      }
    } catch (error) {
      const code = error instanceof ProblemError ? error.code : 'network'
      answer = { answer: question.ask, problem: { code, message: error instanceof Error ? error.message : String(error) } }
    }
    this.#worker.postMessage(answer)
  }

  #emit<E extends keyof SyncEvents>(event: E, value: SyncEvents[E]): void {
    for (const listener of this.#listeners[event]) listener(value)
  }

  #waitFor(reached: (status: Status) => boolean, { signal, timeout }: WaitOptions): Promise<void> {
    return new Promise((resolve, reject) => {
      if (reached(this.#status)) return resolve()
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
