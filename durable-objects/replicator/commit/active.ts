/** Milliseconds after its last call for which an object counts as awake. The runtime puts it to sleep after 10 s. */
const AWAKE_MS = 12_000

export interface Clock {
  now(): number
  sleep(milliseconds: number): Promise<void>
}

const CLOCK: Clock = { now: () => Date.now(), sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)) }

/**
 * Limits how many objects may be awake because of us. Awake ones may be called at once. Another one waits, in the order
 * of the calls, until one has gone back to sleep.
 */
export class ActiveObjects {
  readonly #clock: Clock
  /** The time of each object's last call, oldest first. */
  readonly #called = new Map<string, number>()
  readonly #busy = new Map<string, number>()
  #turn: Promise<void> = Promise.resolve()
  /** The most objects awake at a time; 0 means no limit. */
  limit = 0
  /** The most objects that were awake at a time. */
  peak = 0

  constructor(clock: Clock = CLOCK) {
    this.#clock = clock
  }

  get size(): number {
    return this.#called.size
  }

  /** Resolves when the object may be called. `leave` must follow. */
  async enter(name: string): Promise<void> {
    if (this.limit === 0) return
    if (!this.#called.has(name)) {
      const turn = this.#turn.then(() => this.#room(name))
      this.#turn = turn
      await turn
      // Where all objects share one thread, waking one after the other would starve sockets and timers, and Postgres
      // would end the session.
      await this.#clock.sleep(0)
    }
    this.#busy.set(name, (this.#busy.get(name) ?? 0) + 1)
    this.#touch(name)
  }

  leave(name: string): void {
    const calls = this.#busy.get(name)
    if (calls === undefined) return
    if (calls > 1) this.#busy.set(name, calls - 1)
    else this.#busy.delete(name)
    this.#touch(name)
  }

  #touch(name: string): void {
    this.#called.delete(name)
    this.#called.set(name, this.#clock.now())
    this.peak = Math.max(this.peak, this.#called.size)
  }

  async #room(name: string): Promise<void> {
    for (;;) {
      const wait = this.#expire()
      if (this.#called.has(name) || this.#called.size < this.limit) break
      await this.#clock.sleep(wait)
    }
    this.#touch(name)
  }

  /** Forgets sleeping objects. Returns the milliseconds until the next one sleeps. */
  #expire(): number {
    const now = this.#clock.now()
    for (const [name, called] of this.#called) {
      if (this.#busy.has(name)) continue
      const left = called + AWAKE_MS - now
      if (left > 0) return left
      this.#called.delete(name)
    }
    // All objects are being called, so it looks again soon.
    return 100
  }
}
