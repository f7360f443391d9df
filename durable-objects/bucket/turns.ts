/** A holder that does not renew its turn for this long loses it: its object was evicted, or hangs. */
const LEASE_MS = 60_000

/**
 * Limits how many objects of an isolate do something at a time that takes much memory: objects of one class share an
 * isolate and its 128 MB. A turn is a lease, because an evicted holder cannot give it back.
 */
export class Turns {
  readonly #most: number
  readonly #now: () => number
  readonly #until = new Map<object, number>()

  constructor(most: number, now: () => number = Date.now) {
    this.#most = most
    this.#now = now
  }

  /** Takes a turn, or renews the holder's turn. Returns false when none is free. */
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
