import type { LocalDatabase } from '../core/database/database.ts'
import type { DatabaseEvents, LocalTransaction } from '../core/database/port.ts'
import type { DatabaseStatus } from '../core/database/status.ts'
import { ProblemError, problemOf } from '../core/problem.ts'
import type { OpenStream } from '../core/sync/stream-use.ts'
import { otherUser } from '../core/user.ts'
import {
  PROTOCOL,
  type AppEvent,
  type LivePatch,
  type News,
  type Request,
  type ToOwner,
  type ToTab,
  type Wish,
} from './messages.ts'

// Serves the calls of all tabs from the one database. The file is long because it answers every request.

type Body<M> = M extends { owner: string } ? Omit<M, 'owner'> : never

interface Tab {
  user: string | null
  isWelcome: boolean
  lives: Map<number, () => void>
  streams: Map<number, Promise<OpenStream>>
  /** Patches of this turn, which go in one message. */
  patches: LivePatch[]
}

interface OpenWrite {
  tab: string
  tx: LocalTransaction
  over: PromiseWithResolvers<void>
  done: Promise<{ id: string }>
}

export interface DeskOptions {
  db: LocalDatabase
  /** Of this owner: no other one ever has it. */
  owner: string
  post(tab: string, message: ToTab): void
  /** A tab is heard for the first time: `gone` is to be called when it has gone. */
  watch(tab: string): void
  /** What was found when a damaged file was set aside: every tab is told once. */
  recovered?: DatabaseEvents['recovered'] | null
  /** Somebody closed the database for all. The answer to him has gone out. */
  closed(wiped: boolean): void
  /**
   * Whether the connection does not survive this error. Then nobody is answered: what became of a write only the file
   * says, when it is open again.
   */
  isFatal(error: unknown): boolean
}

const EVENTS: readonly AppEvent[] = ['failed', 'mismatch', 'clientReset', 'recovered', 'unsentAtRisk']

export class Desk {
  readonly #with: DeskOptions
  readonly #tabs = new Map<string, Tab>()
  readonly #writes = new Map<string, OpenWrite>()
  /** Calls that may still be taken back, by tab and number. */
  readonly #running = new Map<string, AbortController>()
  /** Tabs that have gone, and have not come back. */
  readonly #gone = new Set<string>()
  #lastWrite = 0
  #flushing = false
  #ended = false

  constructor(options: DeskOptions) {
    const { db } = (this.#with = options)
    db.on('status', () => this.#tell())
    db.on('streams', () => this.#tell())
    for (const event of EVENTS)
      db.on(event, (value) => {
        for (const [name, tab] of this.#tabs) if (!this.#isForeign(tab)) this.#post(name, { event, value })
      })
  }

  receive(message: ToOwner): void {
    const { tab: name } = message
    if ('hello' in message) {
      this.#gone.delete(name)
      const tab = this.#tab(name)
      tab.user = message.user
      if (message.hello === PROTOCOL) this.#welcome(name, tab)
      else this.#post(name, { refused: otherVersion })
    } else if (message.owner !== this.#with.owner) return
    // Said before it went: it says all of it again when it comes back.
    else if (this.#gone.has(name)) this.#post(name, { stranger: true })
    else if ('wish' in message) this.#grant(name, message.wish)
    else if ('cancel' in message) this.#running.get(`${name} ${message.cancel}`)?.abort(notStored())
    else void this.#answer(name, message.call, message.request)
  }

  /** Its open transaction is rolled back, and what it had open is closed. */
  gone(name: string): void {
    const tab = this.#tabs.get(name)
    this.#tabs.delete(name)
    this.#gone.add(name)
    for (const end of tab?.lives.values() ?? []) end()
    for (const stream of tab?.streams.values() ?? []) void stream.then((each) => each.close()).catch(() => {})
    for (const write of this.#writes.values()) if (write.tab === name) write.over.reject(gone())
    for (const [call, controller] of this.#running) if (call.startsWith(`${name} `)) controller.abort(gone())
    // It may have come back before we heard that it went.
    this.#post(name, { stranger: true })
  }

  /** Nobody hears of it any more. */
  end(): void {
    this.#ended = true
  }

  #welcome(name: string, tab: Tab): void {
    this.#post(name, { welcome: this.#news(tab) })
    const { recovered } = this.#with
    if (!recovered || tab.isWelcome || this.#isForeign(tab)) return
    tab.isWelcome = true
    this.#post(name, { event: 'recovered', value: recovered })
  }

  #tab(name: string): Tab {
    const known = this.#tabs.get(name)
    if (known) return known
    const tab: Tab = { user: null, isWelcome: false, lives: new Map(), streams: new Map(), patches: [] }
    this.#tabs.set(name, tab)
    this.#with.watch(name)
    return tab
  }

  async #answer(name: string, call: number, request: Request): Promise<void> {
    const key = `${name} ${call}`
    const controller = new AbortController()
    this.#running.set(key, controller)
    try {
      const result = await this.#run(name, request, controller.signal)
      // What the call changed is on the screen before whoever made it goes on.
      this.#flush()
      this.#post(name, { call, result })
      if (request.do === 'wipe' || (request.do === 'signOut' && request.options.keepRows !== true))
        this.#with.closed(true)
      else if (request.do === 'signOut') this.#with.closed(false)
    } catch (error) {
      if (!this.#with.isFatal(error)) this.#post(name, { call, problem: problemOf(error, 'storage') })
    } finally {
      this.#running.delete(key)
    }
  }

  #run(name: string, request: Request, signal: AbortSignal): unknown {
    const { db } = this.#with
    if (request.do === 'wipe') return db.wipe()
    // A tab of another user may do nothing beyond this.
    if (this.#isForeign(this.#tab(name))) throw otherUser()
    switch (request.do) {
      case 'query':
        return db.query(request.sql, request.params, request.timeout)
      case 'batch':
        return db.batch(request.statements, { call: request.write, signal }).then(({ id, value }) => ({ id, value }))
      case 'begin':
        return this.#begin(name, request.write, signal)
      case 'execute':
        return this.#write(name, request.tx).tx.execute(request.sql, request.params)
      case 'read':
        return this.#write(name, request.tx).tx.query(request.sql, request.params)
      case 'commit':
        return this.#commit(this.#write(name, request.tx), signal)
      case 'rollback':
        return this.#rollback(this.#write(name, request.tx))
      case 'fate':
        return db.stored(request.write)
      case 'watch':
        return db.transaction(request.id).then((promises) => promises[request.until])
      case 'stream':
        return this.#stream(name, request.stream, db.stream(request.wanted))
      case 'failed':
        return db.failed()
      case 'retry':
        return db.retry(request.id)
      case 'edit':
        return db.edit(request.id, request.ops)
      case 'dismiss':
        return db.dismiss(request.id)
      case 'connect':
        return db.connect()
      case 'disconnect':
        return db.disconnect()
      case 'signOut':
        return db.signOut(request.options)
    }
  }

  /** Answers the name of the transaction when it has begun. Nobody else's is mixed with it: the name is its tab's. */
  #begin(tab: string, call: string, signal: AbortSignal): Promise<string> {
    const name = `${this.#with.owner} ${++this.#lastWrite}`
    const begun = Promise.withResolvers<string>()
    const over = Promise.withResolvers<void>()
    const abort = new AbortController()
    const stop = (): void => abort.abort(signal.reason)
    signal.addEventListener('abort', stop)
    const done = this.#with.db.write(
      async (tx) => {
        signal.removeEventListener('abort', stop)
        // It may have gone while others had their turn.
        if (!this.#tabs.has(tab)) throw gone()
        this.#writes.set(name, { tab, tx, over, done })
        begun.resolve(name)
        await over.promise
      },
      { call, signal: abort.signal },
    )
    done.catch(begun.reject).finally(() => this.#writes.delete(name))
    // It may be rejected before anybody waits for it.
    over.promise.catch(() => {})
    return begun.promise
  }

  async #commit({ over, done }: OpenWrite, signal: AbortSignal): Promise<{ id: string }> {
    // Between here and COMMIT there are only steps that nothing comes between.
    if (signal.aborted) over.reject(signal.reason)
    else over.resolve()
    const { id } = await done
    return { id }
  }

  async #rollback({ over, done }: OpenWrite): Promise<void> {
    over.reject(new ProblemError('aborted', 'rolled back'))
    await done.catch(() => {})
  }

  #write(tab: string, name: string): OpenWrite {
    const write = this.#writes.get(name)
    if (write?.tab !== tab) throw new ProblemError('write_limit', 'this transaction is over')
    return write
  }

  /** Answers the number of the subscription. */
  async #stream(name: string, stream: number, opening: Promise<OpenStream>): Promise<number> {
    const { streams } = this.#tab(name)
    const before = streams.get(stream)
    streams.set(stream, opening)
    void before?.then((each) => each.close()).catch(() => {})
    return (await opening).id
  }

  #grant(name: string, wish: Wish): void {
    const tab = this.#tab(name)
    if ('wake' in wish) this.#with.db.wake()
    else if ('ping' in wish) this.#post(name, { pong: true })
    else if ('follow' in wish) this.#follow(name, tab, wish)
    else if ('unfollow' in wish) {
      tab.lives.get(wish.unfollow)?.()
      tab.lives.delete(wish.unfollow)
    } else {
      const stream = tab.streams.get(wish.closeStream)
      tab.streams.delete(wish.closeStream)
      void stream?.then((each) => each.close()).catch(() => {})
    }
  }

  #follow(name: string, tab: Tab, { follow: live, sql, params }: Extract<Wish, { follow: number }>): void {
    tab.lives.get(live)?.()
    const push = (patch: LivePatch): void => {
      tab.patches.push(patch)
      this.#flushSoon()
    }
    const failed = (error: unknown): void => push({ live, problem: problemOf(error, 'storage') })
    if (this.#isForeign(tab)) return failed(otherUser())
    try {
      const end = this.#with.db.follow(sql, params, {
        patch: (patch, columns) => push({ live, patch, columns }),
        failed,
      })
      tab.lives.set(live, end)
    } catch (error) {
      failed(error)
    }
  }

  /** All queries that a commit concerns run in one step. */
  #flushSoon(): void {
    if (this.#flushing) return
    this.#flushing = true
    queueMicrotask(() => this.#flush())
  }

  #flush(): void {
    this.#flushing = false
    for (const [name, tab] of this.#tabs) {
      const patches = tab.patches.splice(0)
      if (patches.length > 0) this.#post(name, { patches })
    }
  }

  #tell(): void {
    for (const [name, tab] of this.#tabs) this.#post(name, { news: this.#news(tab) })
  }

  #news(tab: Tab): News {
    const { status, streams, shown } = this.#with.db
    return this.#isForeign(tab) ? { status: foreign(status), streams: [], shown: -1 } : { status, streams, shown }
  }

  #isForeign({ user }: Tab): boolean {
    const bound = this.#with.db.user
    return user !== null && bound !== null && user !== bound
  }

  #post(tab: string, body: Body<ToTab>): void {
    if (!this.#ended) this.#with.post(tab, { owner: this.#with.owner, ...body } as ToTab)
  }
}

/** The figures of another user's database are not shown either. */
const foreign = (status: DatabaseStatus): DatabaseStatus => ({
  state: 'needs-auth',
  error: problemOf(otherUser()),
  storage: status.storage,
  upload: { state: 'idle', pending: 0, unconfirmed: 0, failed: 0, oldestUnsentAt: null },
  lastSyncedAt: null,
  comparing: null,
})

const gone = (): ProblemError => new ProblemError('closed', 'the tab has gone')
const notStored = (): ProblemError => new ProblemError('not_stored', 'the write was taken back and not stored')
const otherVersion = {
  code: 'other_version',
  message: 'a tab with another version of this page has the database open: close or reload it',
}
