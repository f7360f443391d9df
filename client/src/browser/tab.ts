import { Listeners, guarded } from '../core/listeners.ts'
import { ProblemError, problemOf } from '../core/problem.ts'
import { identify } from '../core/token.ts'
import { otherUser } from '../core/user.ts'
import { hasSynced, hasUploaded, waitFor } from '../core/wait.ts'
import { within } from '../core/within.ts'
import type {
  FailedWrite,
  Row,
  SignOutOptions,
  SqlParam,
  Status,
  SyncDatabase,
  SyncEvents,
  SyncOptions,
  SyncProblem,
  WaitOptions,
  WriteTransaction,
} from '../types.ts'
import { Calls, closedProblem, ownerLost } from './calls.ts'
import { channelName, tabLock, type Call, type OwnerMessage, type TabMessage } from './messages.ts'
import { OwnWorker } from './own-worker.ts'

// The file is long because it is the interface of a tab, a method for each call.

/**
 * Milliseconds to wait for a token before anything is read, without the option `user`: the token says which user this
 * tab belongs to.
 */
const IDENTIFY_MS = 5_000

interface Live {
  sql: string
  params: readonly SqlParam[]
  callback: (rows: Row[]) => void
  onError: (error: Error) => void
}

const CLOSED: Status = {
  state: 'closed',
  pendingWrites: 0,
  unconfirmedWrites: 0,
  failedWrites: 0,
  lastSyncedAt: null,
  comparing: null,
  upload: null,
  unsynced: [],
  storage: 'opfs',
  setAside: null,
}

/** The database of a tab. Everything happens in the worker of the tab that owns the database, which may be this one. */
export class Tab implements SyncDatabase {
  readonly opened: Promise<void>
  readonly #id = crypto.randomUUID()
  readonly #channel: BroadcastChannel
  readonly #worker: OwnWorker
  readonly #calls = new Calls(this.#id, (message) => this.#channel.postMessage(message))
  readonly #lives = new Map<number, Live>()
  readonly #listeners = new Listeners<SyncEvents>()
  readonly #over = new AbortController()
  #status: Status = { ...CLOSED, state: 'offline' }
  /** The user to whom the database belongs. */
  #bound: string | null = null
  readonly #leaving = new Set<'told' | 'ended'>()
  #lastLive = 0
  #opened: () => void = () => {}
  #refused: (error: Error) => void = () => {}
  #release: () => void = () => {}

  constructor(options: SyncOptions, workerUrl: string | URL) {
    const name = options.name ?? 'rockpool'
    this.opened = new Promise((opened, refused) => {
      this.#opened = opened
      this.#refused = refused
    })
    const ask = options.user === undefined && options.connect !== false
    const first = ask ? identify(options) : null
    this.#channel = new BroadcastChannel(channelName(name))
    const locked = Promise.withResolvers<void>()
    void navigator.locks.request(tabLock(name, this.#id), () => {
      locked.resolve()
      if (!this.#over.signal.aborted) return new Promise<void>((release) => (this.#release = release))
    })
    const parts = { options, url: workerUrl, name, tab: this.#id }
    this.#worker = new OwnWorker(
      { ...parts, failed: (problem) => this.#failed(problem), ended: () => this.#left('ended') },
      first,
    )
    void this.#begin(options.user ?? null, first, locked.promise)
    for (const [target, events] of [
      [document, ['visibilitychange', 'resume']],
      [window, ['online', 'pageshow']],
    ] as const) {
      for (const event of events) target.addEventListener(event, () => this.#wake(), { signal: this.#over.signal })
    }
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
    const live = ++this.#lastLive
    this.#lives.set(live, { sql, params, callback: (rows) => callback(rows as T[]), onError })
    this.#call({ call: 'live', live, sql, params }).catch(onError)
    return () => {
      this.#lives.delete(live)
      this.#call({ call: 'unlive', live }).catch(() => {})
    }
  }

  async write<T>(change: (tx: WriteTransaction) => T | Promise<T>): Promise<T> {
    const write = crypto.randomUUID()
    const tx = await this.#call<string>({ call: 'begin', write })
    // Its name begins with its owner's.
    const owner = tx.slice(0, tx.indexOf(' '))
    const call = <R>(request: Call): Promise<R> =>
      this.#calls.owner === owner ? this.#call<R>(request) : Promise.reject(ownerLost())
    let result: T
    try {
      result = await change({
        execute: (sql, params = []) => call({ call: 'execute', tx, sql, params }),
        executeBatch: (sql, params) => call({ call: 'executeBatch', tx, sql, params }),
        query: (sql, params = []) => call({ call: 'read', tx, sql, params }),
      })
    } catch (error) {
      await call({ call: 'rollback', tx }).catch(() => {})
      throw error
    }
    await call({ call: 'commit', tx, write })
    return result
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
    return this.#call({ call: 'failedWrites' })
  }

  dismissFailedWrites(transactionId?: number): Promise<void> {
    return this.#call({ call: 'dismiss', id: transactionId })
  }

  retryFailedWrite(transactionId: number): Promise<void> {
    return this.#call({ call: 'retry', id: transactionId })
  }

  disconnect(): Promise<void> {
    return this.#call({ call: 'disconnect' })
  }

  connect(): Promise<void> {
    return this.#call({ call: 'connect' })
  }

  async signOut({ signal, timeout, ...options }: SignOutOptions = {}): Promise<void> {
    // Waits here, because a signal cannot be sent to the owner. The owner checks the queue again.
    if (options.unsent === 'wait' && options.keepRows !== true) {
      if (this.#foreign) throw otherUser()
      await waitFor(this, (status) => status.pendingWrites === 0, {
        ...(signal ? { signal } : {}),
        ...(timeout === undefined ? {} : { timeout }),
      })
    }
    await this.#call({
      call: 'signOut',
      options: options.unsent === 'wait' ? { ...options, unsent: 'refuse' } : options,
    })
  }

  wipe(): Promise<void> {
    return this.#call({ call: 'wipe' })
  }

  async close(): Promise<void> {
    this.#closed('the database was closed')
  }

  /**
   * Sends nothing before the user of this tab is known, nor before it holds the lock that shows the owner that it
   * lives.
   */
  async #begin(user: string | null, first: ReturnType<typeof identify> | null, locked: Promise<void>): Promise<void> {
    const late = (): ProblemError => new ProblemError('network', 'no token')
    const subject = first
      ? await within(first, IDENTIFY_MS, late).then(
          (identity) => identity.subject,
          () => null,
        )
      : user
    await locked
    if (this.#over.signal.aborted) return
    this.#calls.user = subject
    this.#channel.addEventListener('message', ({ data }: MessageEvent<OwnerMessage>) => this.#receive(data))
    this.#post({ to: 'owner', tab: this.#id, hello: true })
  }

  get #foreign(): boolean {
    const { user } = this.#calls
    return user !== null && this.#bound !== null && user !== this.#bound
  }

  #receive(message: OwnerMessage): void {
    // This tab is leaving, so a new owner does not concern it.
    if (this.#leaving.size > 0 && !('id' in message || 'closed' in message)) return
    if (message.to !== 'tab' || ('tab' in message && message.tab !== undefined && message.tab !== this.#id)) return
    if ('status' in message) {
      const changed = this.#calls.owner !== message.owner
      this.#bound = message.user
      // The figures of another user's database are not shown either.
      const foreign: Status = {
        ...message.status,
        lastSyncedAt: null,
        comparing: null,
        state: 'needs-auth',
        error: problemOf(otherUser()),
      }
      this.#setStatus(this.#foreign ? foreign : message.status)
      if (changed) this.#newOwner(message.owner)
    } else if ('blocked' in message) {
      this.#setStatus({ ...this.#status, state: 'error', error: message.blocked, retryAt: message.retryAt })
    } else if ('closed' in message) {
      if (this.#calls.owner !== message.owner) return
      if (message.wiped) this.#worker.forget()
      // The owner's own tab hears from its worker when all tabs have gone.
      if (message.of !== this.#id) this.#closed('signed out')
      else {
        this.#setStatus(CLOSED)
        this.#left('told')
      }
    } else if ('failedWrite' in message) {
      if (!this.#foreign) this.#listeners.emit('failedWrite', message.failedWrite)
    } else if ('mismatch' in message) this.#listeners.emit('mismatch', message.mismatch)
    else if ('live' in message) {
      const live = this.#lives.get(message.live)
      if ('rows' in message) guarded(() => live?.callback(message.rows))
      else guarded(() => live?.onError(new ProblemError(message.problem.code, message.problem.message)))
    } else this.#calls.answer(message.id, message)
  }

  #newOwner(owner: string): void {
    this.#calls.to(owner)
    for (const [live, { sql, params, onError }] of this.#lives)
      this.#call({ call: 'live', live, sql, params }).catch(onError)
  }

  #call<T>(request: Call): Promise<T> {
    const over = this.#over.signal.aborted || this.#status.state === 'closed'
    return over ? Promise.reject(closedProblem()) : this.#calls.call<T>(request)
  }

  #post(message: TabMessage): void {
    this.#channel.postMessage(message)
  }

  #wake(): void {
    if (document.visibilityState === 'visible') this.#post({ to: 'owner', tab: this.#id, wake: true })
  }

  #setStatus(status: Status): void {
    this.#status = status
    this.#opened()
    this.#listeners.emit('status', status)
  }

  /** This tab's worker cannot own the database, but another tab's may. */
  #failed(problem: SyncProblem): void {
    this.#refused(new ProblemError(problem.code, problem.message))
    this.#closed(problem.message)
  }

  /**
   * After a sign-out whose owner was this tab's worker: it reports that to all tabs, and then to this one that they
   * have gone. The second message may arrive first.
   */
  #left(by: 'told' | 'ended'): void {
    if (this.#leaving.add(by).size === 2) this.#closed('signed out')
  }

  #closed(why: string): void {
    if (this.#over.signal.aborted) return
    this.#over.abort()
    this.#worker.terminate()
    this.#channel.close()
    this.#release()
    this.#calls.end(why)
    this.#setStatus(CLOSED)
  }
}
