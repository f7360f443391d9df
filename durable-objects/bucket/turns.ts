/** A holder that does not renew its turn for so long has lost it: its object was evicted, or hangs. */
const LEASE_MS = 60_000

/**
 * What only a few objects of an isolate may do at a time, because each of them holds much memory meanwhile: objects of one class share an isolate, and
 * its 128 MB. A holder that was evicted says nothing, so a turn is a lease.
 */
export class Turns {
  readonly #most: number
  readonly #now: () => number
  readonly #until = new Map<object, number>()

  constructor(most: number, now: () => number = Date.now) {
    this.#most = most
    this.#now = now
  }

  /** Takes a turn, or renews the one that the holder has. False: none is free. */
  take(holder: object): boolean {
    const now = this.#now()
    for (const [each, until] of this.#until) if (until <= now) this.#until.delete(each)
    if (!this.#until.has(holder) && this.#until.size >= this.#most) return false
    this.#until.set(holder, now + LEASE_MS)
    return true
  }

  release(holder: object): void {
    this.#until.delete(holder)
  }
}
