import type { Sqlite } from '../../sqlite/sqlite.ts'
import { expire, release, subscribe, type Wanted } from './streams.ts'

/** Subscriptions whose time is over are looked for so often. */
export const EXPIRE_MS = 60_000

export interface StreamUseOptions {
  db: Sqlite
  turn<T>(work: () => T): Promise<T>
  /** The server has to be told. */
  changed(): void
}

export interface OpenStream {
  /** Of the subscription. */
  id: number
  /** From then on its time runs. */
  close(): void
}

/** Who has which subscription open. */
export class StreamUse {
  readonly #with: StreamUseOptions
  /** How often each is open. */
  readonly #open = new Map<number, number>()
  readonly #timer: ReturnType<typeof setInterval>

  constructor(options: StreamUseOptions) {
    this.#with = options
    this.#timer = setInterval(() => void this.#expire().catch(() => {}), EXPIRE_MS)
    // In Node nobody is kept alive by it.
    if (typeof this.#timer === 'object') this.#timer.unref()
  }

  async open(wanted: Wanted): Promise<OpenStream> {
    const { db, turn, changed } = this.#with
    const { id, isNew } = await turn(() => {
      const subscription = db.transaction(() => subscribe(db, wanted, Date.now()))
      this.#open.set(subscription.id, (this.#open.get(subscription.id) ?? 0) + 1)
      return subscription
    })
    if (isNew) changed()
    let isOpen = true
    const close = (): void => {
      if (isOpen) this.#close(id)
      isOpen = false
    }
    return { id, close }
  }

  end(): void {
    clearInterval(this.#timer)
  }

  #close(id: number): void {
    const { db, turn } = this.#with
    const left = (this.#open.get(id) ?? 1) - 1
    if (left > 0) return void this.#open.set(id, left)
    this.#open.delete(id)
    void turn(() => release(db, id, Date.now())).catch(() => {})
  }

  async #expire(): Promise<void> {
    const { db, turn, changed } = this.#with
    if (await turn(() => db.transaction(() => expire(db, new Set(this.#open.keys()), Date.now())))) changed()
  }
}
