import { Engine } from '../core/engine.ts'
import { ProblemError, problemOf } from '../core/problem.ts'
import type { WriteTransaction } from '../types.ts'
import { tabLock, type Call, type OwnerMessage, type TabMessage } from './messages.ts'

interface OpenWrite {
  tab: string
  tx: WriteTransaction
  end(error: Error | null): Promise<unknown>
}

/** Serves the calls of all tabs from one engine. */
export class Owner {
  readonly #engine: Engine
  readonly #channel: BroadcastChannel
  readonly #name: string
  readonly #id = crypto.randomUUID()
  readonly #tabs = new Set<string>()
  /** `tab live` → the function that ends it. */
  readonly #lives = new Map<string, () => void>()
  readonly #writes = new Map<number, OpenWrite>()
  #lastWrite = 0

  constructor(engine: Engine, channel: BroadcastChannel, name: string) {
    this.#engine = engine
    this.#channel = channel
    this.#name = name
    channel.addEventListener('message', ({ data }: MessageEvent<TabMessage>) => {
      if (data.to === 'owner') this.#receive(data)
    })
    engine.on('status', () => this.#tellStatus())
    engine.on('failedWrite', (failedWrite) => this.#send({ to: 'tab', failedWrite }))
    engine.on('mismatch', (mismatch) => this.#send({ to: 'tab', mismatch }))
    this.#tellStatus()
  }

  #tellStatus(): void {
    this.#send({ to: 'tab', owner: this.#id, status: this.#engine.status })
  }

  #receive(message: TabMessage): void {
    this.#watch(message.tab)
    if ('hello' in message) {
      this.#send({ to: 'tab', tab: message.tab, owner: this.#id, status: this.#engine.status })
      return
    }
    const { tab, id, request } = message
    this.#answer(tab, request).then(
      (result) => this.#send({ to: 'tab', tab, id, result }),
      (error: unknown) => this.#send({ to: 'tab', tab, id, problem: problemOf(error, 'storage') }),
    )
  }

  async #answer(tab: string, request: Call): Promise<unknown> {
    const engine = this.#engine
    switch (request.call) {
      case 'query':
        return engine.query(request.sql, request.params)
      case 'live':
        return this.#startLive(tab, request.live, request.sql, request.params)
      case 'unlive':
        return this.#endLive(`${tab} ${request.live}`)
      case 'begin':
        return this.#begin(tab)
      case 'execute':
        return this.#write(request.tx).tx.execute(request.sql, request.params)
      case 'read':
        return this.#write(request.tx).tx.query(request.sql, request.params)
      case 'commit':
        return this.#write(request.tx).end(null)
      case 'rollback':
        return this.#write(request.tx).end(new ProblemError('storage', 'rolled back'))
      case 'failedWrites':
        return engine.failedWrites()
      case 'dismiss':
        return engine.dismissFailedWrites(request.id)
      case 'connect':
        return engine.connect()
      case 'disconnect':
        return engine.disconnect()
    }
  }

  /** Answers its number once the transaction has begun. */
  #begin(tab: string): Promise<number> {
    const number = ++this.#lastWrite
    return new Promise((begun, failed) => {
      const end = Promise.withResolvers<void>()
      const done = this.#engine.write(async (tx) => {
        const finish = (error: Error | null): Promise<unknown> => {
          if (error) end.reject(error)
          else end.resolve()
          return error ? done.catch(() => null) : done
        }
        this.#writes.set(number, { tab, tx, end: finish })
        begun(number)
        await end.promise
      })
      done.catch(failed).finally(() => this.#writes.delete(number))
    })
  }

  #write(tx: number): OpenWrite {
    const write = this.#writes.get(tx)
    if (!write) throw new ProblemError('storage', 'this transaction is over')
    return write
  }

  #startLive(tab: string, live: number, sql: string, params: Extract<Call, { call: 'live' }>['params']): void {
    this.#endLive(`${tab} ${live}`)
    const end = this.#engine.live(
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

  /** The tab's lock is ours when the tab has gone. */
  #watch(tab: string): void {
    if (this.#tabs.has(tab)) return
    this.#tabs.add(tab)
    void navigator.locks.request(tabLock(this.#name, tab), async () => {
      this.#tabs.delete(tab)
      for (const name of [...this.#lives.keys()]) if (name.startsWith(`${tab} `)) this.#endLive(name)
      for (const write of this.#writes.values()) if (write.tab === tab) await write.end(new ProblemError('storage', 'the tab has gone'))
    })
  }

  #send(message: OwnerMessage): void {
    this.#channel.postMessage(message)
  }
}
