import type { Verdict, WrittenPromises } from '../core/database/fate-watch.ts'
import type {
  BoundStatement,
  DatabaseEvents,
  DatabasePort,
  LocalTransaction,
  QueryResult,
  WriteOptions,
  Written,
} from '../core/database/port.ts'
import type { DatabaseStatus } from '../core/database/status.ts'
import { closed, until } from '../core/database/until.ts'
import { guarded, Listeners } from '../core/listeners.ts'
import type { LiveListener } from '../core/live/registry.ts'
import type { FailedTransaction } from '../core/outbox/failed.ts'
import { ProblemError } from '../core/problem.ts'
import { bindable } from '../core/sqlite.ts'
import type { StoredOp } from '../core/store/ops.ts'
import type { StreamStatus } from '../core/sync/lines.ts'
import type { OpenStream } from '../core/sync/stream-use.ts'
import type { Wanted } from '../core/sync/streams.ts'
import type { SignOutOptions, SqlParam, SyncProblem, WaitOptions } from '../types.ts'
import { Calls, ownerLost } from './calls.ts'
import {
  PROTOCOL,
  type LivePatch,
  type News,
  type Request,
  type ToAll,
  type ToOwner,
  type ToTab,
  type Wish,
} from './messages.ts'

// The database as a tab sees it: everything happens at its owner. The file is long because it has every method.

/** A call that is not answered for so long, and the owner is asked whether it is there. */
const PING_MS = 3_000
/** An owner that has been silent for so long is reported. */
const SILENT_MS = 10_000

export interface RemoteOptions {
  /** A UUID of this tab. */
  tab: string
  /** Whose session the tab has; null: it does not know. */
  user: string | null
  post(message: ToOwner): void
  now(): number
  /** Leaves the others, and lets the worker of this tab go. */
  leave(): Promise<void>
  /** A write of this tab was stored. */
  stored?(): void
  /** The database was closed for all tabs. */
  closed(wiped: boolean): void
  isVisible(): boolean
}

export class RemoteDatabase implements DatabasePort {
  readonly opened: Promise<void>
  readonly #with: RemoteOptions
  readonly #calls: Calls
  readonly #lives = new Map<number, { sql: string; params: readonly SqlParam[]; listener: LiveListener }>()
  readonly #wanted = new Map<number, Wanted>()
  readonly #listeners = new Listeners<DatabaseEvents>()
  #user: string | null
  #news: News
  #opening = Promise.withResolvers<void>()
  #last = 0
  /** When the owner was heard last. */
  #heard = 0
  #pinged = 0
  #isSilent = false
  #isOver = false

  constructor(options: RemoteOptions) {
    this.#with = options
    this.#user = options.user
    this.#calls = new Calls({ tab: options.tab, post: (message) => options.post(message), now: () => options.now() })
    this.opened = this.#opening.promise
    this.opened.catch(() => {})
    this.#news = { status: OPENING, streams: [], shown: -1 }
  }

  get status(): DatabaseStatus {
    return this.#news.status
  }

  get streams(): readonly StreamStatus[] {
    return this.#news.streams
  }

  get shown(): number {
    return this.#news.shown
  }

  /** Whose session the tab has, as it has just learnt. Said to the owner with the next hello. */
  set user(user: string | null) {
    this.#user = user
  }

  on<E extends keyof DatabaseEvents>(event: E, listener: (value: DatabaseEvents[E]) => void): () => void {
    return this.#listeners.on(event, listener)
  }

  query(sql: string, params: readonly SqlParam[] = [], timeout?: number): Promise<QueryResult> {
    return this.#call({ do: 'query', sql, params, ...(timeout === undefined ? {} : { timeout }) })
  }

  follow(sql: string, params: readonly SqlParam[], listener: LiveListener): () => void {
    const live = ++this.#last
    // Whoever cannot be sent is refused here.
    bindable(params)
    this.#lives.set(live, { sql, params, listener })
    this.#wish({ follow: live, sql, params })
    return () => {
      if (this.#lives.delete(live)) this.#wish({ unfollow: live })
    }
  }

  async batch(statements: readonly BoundStatement[], { signal }: WriteOptions = {}): Promise<Written<number[]>> {
    const request: Request = { do: 'batch', write: this.#name(), statements }
    const { id, value } = await this.#call<{ id: string; value: number[] }>(request, signal)
    return this.#written(id, value)
  }

  async write<T>(change: (tx: LocalTransaction) => T | Promise<T>, { signal }: WriteOptions = {}): Promise<Written<T>> {
    const write = this.#name()
    const tx = await this.#call<string>({ do: 'begin', write }, signal)
    // Its name begins with its owner's.
    const owner = tx.slice(0, tx.indexOf(' '))
    const call = <R>(request: Request, over?: AbortSignal): Promise<R> =>
      this.#calls.owner === owner ? this.#call<R>(request, over) : Promise.reject(ownerLost())
    let value: T
    try {
      // Too late to be taken back.
      signal?.throwIfAborted()
      value = await change({
        execute: (sql, params = []) => call({ do: 'execute', tx, sql, params }),
        query: (sql, params = []) => call({ do: 'read', tx, sql, params }),
      })
      signal?.throwIfAborted()
    } catch (error) {
      await call({ do: 'rollback', tx }).catch(() => {})
      throw error
    }
    const { id } = await call<{ id: string }>({ do: 'commit', tx, write }, signal)
    return this.#written(id, value)
  }

  async fate(write: string): Promise<string | null> {
    return (await this.#call<{ id: string } | null>({ do: 'fate', write }))?.id ?? null
  }

  async transaction(id: string): Promise<WrittenPromises> {
    // Promises in an object: one that is returned by itself would be waited for.
    return this.#promises(id)
  }

  failed(): Promise<FailedTransaction[]> {
    return this.#call({ do: 'failed' })
  }

  retry(id: string): Promise<Map<string, string>> {
    return this.#call({ do: 'retry', id })
  }

  edit(id: string, ops: readonly StoredOp[]): Promise<string | null> {
    return this.#call({ do: 'edit', id, ops })
  }

  dismiss(id: string | null): Promise<void> {
    return this.#call({ do: 'dismiss', id })
  }

  async stream(wanted: Wanted): Promise<OpenStream> {
    const stream = ++this.#last
    this.#wanted.set(stream, wanted)
    const close = (): void => {
      if (this.#wanted.delete(stream)) this.#wish({ closeStream: stream })
    }
    try {
      return { id: await this.#call<number>({ do: 'stream', stream, wanted }), close }
    } catch (error) {
      this.#wanted.delete(stream)
      throw error
    }
  }

  until(reached: (status: DatabaseStatus) => boolean, options?: WaitOptions): Promise<void> {
    return until(this, reached, options)
  }

  connect(): Promise<void> {
    return this.#call({ do: 'connect' })
  }

  disconnect(): Promise<void> {
    return this.#call({ do: 'disconnect' })
  }

  async signOut({ signal, timeout, ...options }: SignOutOptions = {}): Promise<void> {
    // Waited for here, because a signal is not sent. The owner looks at the queue again.
    if (options.unsent === 'wait' && options.keepRows !== true) {
      const wait = { ...(signal ? { signal } : {}), ...(timeout === undefined ? {} : { timeout }) }
      await this.until(({ upload }) => upload.pending === 0, wait)
      options.unsent = 'refuse'
    }
    await this.#call({ do: 'signOut', options })
  }

  wipe(): Promise<void> {
    return this.#call({ do: 'wipe' })
  }

  async close(): Promise<void> {
    if (this.#isOver) return
    this.#end()
    await this.#with.leave()
  }

  /** Of the owner, to this tab. */
  receive(message: ToTab): void {
    if (this.#isOver) return
    if ('welcome' in message) return this.#meet(message.owner, message.welcome)
    if ('refused' in message) return this.#blocked(message.refused)
    // Of one that is not ours any more.
    if (message.owner !== this.#calls.owner) return
    this.#hear()
    if ('stranger' in message) {
      this.#calls.lost()
      this.hello()
    } else if ('news' in message) this.#told(message.news)
    else if ('patches' in message) this.#patch(message.patches)
    else if ('event' in message) this.#listeners.emit(message.event, message.value as never)
    else if ('call' in message) this.#calls.answer(message.call, message)
  }

  /** To all tabs. */
  receiveAll(message: ToAll): void {
    if (this.#isOver) return
    if ('announce' in message) this.hello()
    else if ('blocked' in message) {
      this.#calls.lost()
      this.#calls.busy()
      this.#blocked(message.blocked)
    } else if (message.owner !== this.#calls.owner) return
    else if ('busy' in message) {
      this.#hear()
      this.#calls.busy()
    } else {
      this.#end()
      this.#with.closed(message.wiped)
    }
  }

  /** Asks who owns the database. */
  hello(): void {
    this.#with.post({ tab: this.#with.tab, hello: PROTOCOL, user: this.#user })
  }

  /** This tab cannot be reached for a while. Afterwards it says hello again. */
  lost(): void {
    this.#calls.lost()
  }

  wake(): void {
    this.#wish({ wake: true })
  }

  /** The database cannot be opened here. Answers whether this is the end: no other tab has it open. */
  failedToOpen(problem: SyncProblem): boolean {
    if (this.#calls.owner !== null) return false
    this.#opening.reject(new ProblemError(problem.code, problem.message))
    this.#end(problem.message)
    return true
  }

  /** Called about once in a second. */
  tick(): void {
    this.#calls.tick()
    const waiting = this.#calls.waitingSince
    if (waiting === null || this.#calls.owner === null) return
    const now = this.#with.now()
    const silent = now - Math.max(waiting, this.#heard)
    if (silent >= PING_MS && now - this.#pinged >= PING_MS && this.#with.isVisible()) {
      this.#pinged = now
      this.#wish({ ping: true })
    }
    if (silent < SILENT_MS || this.#isSilent) return
    this.#isSilent = true
    this.#blocked({ code: 'owner_silent', message: 'the tab that has the database open does not answer' })
  }

  #meet(owner: string, news: News): void {
    const isNew = this.#calls.owner !== owner
    this.#hear()
    this.#told(news)
    if (isNew) {
      this.#calls.to(owner)
      for (const [follow, { sql, params }] of this.#lives) this.#wish({ follow, sql, params })
      for (const [stream, wanted] of this.#wanted) this.#call({ do: 'stream', stream, wanted }).catch(() => {})
    }
    this.#opening.resolve()
  }

  #hear(): void {
    this.#heard = this.#with.now()
    if (!this.#isSilent) return
    this.#isSilent = false
    this.hello()
  }

  #told(news: News): void {
    this.#news = news
    this.#listeners.emit('status', news.status)
    this.#listeners.emit('streams', news.streams)
  }

  #blocked({ code, message }: SyncProblem): void {
    const { status } = this.#news
    const { kind } = status.storage
    this.#told({
      ...this.#news,
      status: { ...status, storage: { kind, state: 'blocked', reason: `${code}: ${message}` } },
    })
  }

  /** All of them are applied, and then told. */
  #patch(patches: readonly LivePatch[]): void {
    const patched: LiveListener[] = []
    for (const each of patches) {
      const listener = this.#lives.get(each.live)?.listener
      if (!listener) continue
      if ('problem' in each) {
        guarded(() => listener.failed(new ProblemError(each.problem.code, each.problem.message)))
        continue
      }
      guarded(() => listener.patch(each.patch, each.columns))
      patched.push(listener)
    }
    for (const listener of patched) guarded(() => listener.told?.())
  }

  #written<T>(id: string, value: T): Written<T> {
    this.#with.stored?.()
    // What they say is asked for when somebody looks.
    return Object.defineProperties(this.#promises(id), {
      id: { value: id, enumerable: true },
      value: { value, enumerable: true },
    }) as Written<T>
  }

  #promises(id: string): WrittenPromises {
    const asked = new Map<'accepted' | 'confirmed', Promise<Verdict>>()
    const ask = (until: 'accepted' | 'confirmed'): Promise<Verdict> => {
      const known = asked.get(until) ?? this.#verdict(id, until)
      asked.set(until, known)
      return known
    }
    return {
      get accepted() {
        return ask('accepted')
      },
      get confirmed() {
        return ask('confirmed')
      },
    }
  }

  /** Never rejects: a tab that closes does not hear of it any more. */
  #verdict(id: string, until: 'accepted' | 'confirmed'): Promise<Verdict> {
    return this.#call<Verdict>({ do: 'watch', id, until }).catch(() => new Promise<never>(() => {}))
  }

  #call<T>(request: Request, signal?: AbortSignal): Promise<T> {
    return this.#isOver ? Promise.reject(closed()) : this.#calls.call<T>(request, signal)
  }

  #wish(wish: Wish): void {
    const { owner } = this.#calls
    if (owner !== null) this.#with.post({ tab: this.#with.tab, owner, wish })
  }

  #name(): string {
    return `${this.#with.tab} ${++this.#last}`
  }

  #end(why?: string): void {
    this.#isOver = true
    this.#calls.end(why)
    this.#opening.reject(closed(why))
    this.#told({ ...this.#news, status: CLOSED })
  }
}

const OPENING: DatabaseStatus = {
  state: 'opening',
  storage: { kind: 'opfs', state: 'opening' },
  upload: { state: 'idle', pending: 0, unconfirmed: 0, failed: 0, oldestUnsentAt: null },
  lastSyncedAt: null,
  comparing: null,
}
const CLOSED: DatabaseStatus = { ...OPENING, state: 'closed' }
