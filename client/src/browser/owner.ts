import type { Engine } from '../core/engine.ts'
import { ProblemError, problemOf } from '../core/problem.ts'
import { otherUser } from '../core/user.ts'
import { within } from '../core/within.ts'
import type { WriteTransaction } from '../types.ts'
import { tabLock, type Call, type OwnerMessage, type TabMessage } from './messages.ts'

/** Milliseconds after a sign-out during which tabs that have not heard of it cannot open the database again. */
const LEAVE_MS = 5_000

interface OpenWrite {
  tab: string
  tx: WriteTransaction
  end(error: Error | null): Promise<unknown>
}

export interface OwnerOptions {
  engine: Engine
  channel: BroadcastChannel
  name: string
  /** The tab of this worker. */
  tab: string
}

/** Serves the calls of all tabs from one engine. */
export class Owner {
  /** Resolves when the database is closed and every other tab has heard of it. */
  readonly over: Promise<void>
  readonly #with: OwnerOptions
  readonly #id = crypto.randomUUID()
  /** The tabs, each with a promise that resolves when the tab has gone. */
  readonly #tabs = new Map<string, Promise<void>>()
  /** Maps `tab live` to the function that ends the live query. */
  readonly #lives = new Map<string, () => void>()
  readonly #writes = new Map<string, OpenWrite>()
  #lastWrite = 0
  #end: () => void = () => {}

  constructor(options: OwnerOptions) {
    const { engine, channel } = options
    this.#with = options
    this.over = new Promise((resolve) => (this.#end = resolve))
    channel.addEventListener('message', ({ data }: MessageEvent<TabMessage>) => {
      if (data.to === 'owner') this.#receive(data)
    })
    engine.on('status', () => this.#sendStatus())
    engine.on('failedWrite', (failedWrite) => this.#send({ to: 'tab', failedWrite }))
    engine.on('mismatch', (mismatch) => this.#send({ to: 'tab', mismatch }))
    this.#sendStatus()
  }

  /** Sends the status to all tabs, or to one. */
  #sendStatus(tab?: string): void {
    const { engine } = this.#with
    if (engine.status.state === 'closed') return
    this.#send({
      to: 'tab',
      owner: this.#id,
      status: engine.status,
      user: engine.user,
      ...(tab === undefined ? {} : { tab }),
    })
  }

  #receive(message: TabMessage): void {
    this.#watch(message.tab)
    if ('hello' in message) return this.#sendStatus(message.tab)
    if ('wake' in message) return this.#with.engine.wake()
    if (message.owner !== this.#id) return
    const { tab, id } = message
    this.#answer(message).then(
      (result) => this.#send({ to: 'tab', tab, id, result }),
      (error: unknown) => this.#send({ to: 'tab', tab, id, problem: problemOf(error, 'storage') }),
    )
  }

  async #answer({ tab, user, request }: Extract<TabMessage, { request: Call }>): Promise<unknown> {
    const { engine } = this.#with
    if (request.call === 'wipe') return this.#closing(() => engine.wipe(), true)
    if (request.call === 'signOut')
      return this.#closing(() => engine.signOut(request.options), request.options.keepRows !== true)
    // A tab of another user may do nothing beyond this.
    if (user !== null && engine.user !== null && user !== engine.user) throw otherUser()
    switch (request.call) {
      case 'query':
        return engine.query(request.sql, request.params)
      case 'live':
        return this.#startLive(tab, request.live, request.sql, request.params)
      case 'unlive':
        return this.#endLive(`${tab} ${request.live}`)
      case 'begin':
        return this.#begin(tab, request.write)
      case 'execute':
        return this.#write(tab, request.tx).tx.execute(request.sql, request.params)
      case 'executeBatch':
        return this.#write(tab, request.tx).tx.executeBatch(request.sql, request.params)
      case 'read':
        return this.#write(tab, request.tx).tx.query(request.sql, request.params)
      case 'commit':
        return this.#write(tab, request.tx).end(null)
      case 'rollback':
        return this.#write(tab, request.tx).end(new ProblemError('storage', 'rolled back'))
      case 'fate':
        return engine.wasStored(request.write)
      case 'failedWrites':
        return engine.failedWrites()
      case 'dismiss':
        return engine.dismissFailedWrites(request.id)
      case 'retry':
        return engine.retryFailedWrite(request.id)
      case 'connect':
        return engine.connect()
      case 'disconnect':
        return engine.disconnect()
    }
  }

  /** Returns the name of the transaction once it has begun. The name is unique among owners and tabs. */
  #begin(tab: string, write: string): Promise<string> {
    const name = `${this.#id} ${++this.#lastWrite}`
    return new Promise((begun, failed) => {
      const end = Promise.withResolvers<void>()
      const done = this.#with.engine.write(async (tx) => {
        // The tab may have gone while others had their turn.
        if (!this.#tabs.has(tab)) throw new ProblemError('closed', 'the tab has gone')
        const finish = (error: Error | null): Promise<unknown> => {
          if (error) end.reject(error)
          else end.resolve()
          return error ? done.catch(() => null) : done
        }
        this.#writes.set(name, { tab, tx, end: finish })
        begun(name)
        await end.promise
      }, write)
      done.catch(failed).finally(() => this.#writes.delete(name))
    })
  }

  #write(tab: string, tx: string): OpenWrite {
    const write = this.#writes.get(tx)
    if (write?.tab !== tab) throw new ProblemError('storage', 'this transaction is over')
    return write
  }

  #startLive(tab: string, live: number, sql: string, params: Extract<Call, { call: 'live' }>['params']): void {
    this.#endLive(`${tab} ${live}`)
    const end = this.#with.engine.live(
      sql,
      params,
      (rows) => this.#send({ to: 'tab', tab, live, rows }),
      (error) => this.#send({ to: 'tab', tab, live, problem: problemOf(error, 'storage') }),
    )
    this.#lives.set(`${tab} ${live}`, end)
  }

  #endLive(name: string): void {
    this.#lives.get(name)?.()
    this.#lives.delete(name)
  }

  /** Waits for the lock of a tab, which we get when the tab has gone. */
  #watch(tab: string): void {
    if (this.#tabs.has(tab)) return
    const gone = Promise.withResolvers<void>()
    this.#tabs.set(tab, gone.promise)
    void navigator.locks.request(tabLock(this.#with.name, tab), async () => {
      this.#tabs.delete(tab)
      gone.resolve()
      for (const name of [...this.#lives.keys()]) if (name.startsWith(`${tab} `)) this.#endLive(name)
      for (const write of this.#writes.values())
        if (write.tab === tab) await write.end(new ProblemError('closed', 'the tab has gone'))
    })
  }

  /**
   * Ends all tabs with the database. This worker keeps its lock until they have gone, because their workers would open
   * the file again.
   */
  async #closing(close: () => Promise<void>, wiped: boolean): Promise<void> {
    await close()
    void (async () => {
      // The answer must go out first.
      await new Promise((resolve) => setTimeout(resolve))
      this.#send({ to: 'tab', closed: true, of: this.#with.tab, owner: this.#id, wiped })
      const others = [...this.#tabs].flatMap(([tab, gone]) => (tab === this.#with.tab ? [] : [gone]))
      const late = (): ProblemError => new ProblemError('storage', 'a tab does not close')
      await within(Promise.all(others), LEAVE_MS, late).catch(() => {})
      this.#end()
    })()
  }

  #send(message: OwnerMessage): void {
    this.#with.channel.postMessage(message)
  }
}
