/**
 * Subscriptions of all streams of all relays of an isolate together. A bucket that only a single stream has takes about
 * 0.4 KB with its name and state, and objects of one class may share an isolate and its 128 MB.
 */
export const MAX_SUBSCRIPTIONS = 150_000

/**
 * A relay that has not renewed for this long sleeps, and its memory is free. While it cannot sleep it renews every 5 s.
 */
const LEASE_MS = 60_000

/** One relay's part of the room. */
export interface Room {
  /** Sets its number of subscriptions, whether or not there is room. */
  has(subscriptions: number): void
  /** The number of subscriptions for which there is room beside those of other relays. */
  readonly most: number
}

/**
 * Room for subscriptions that relays share. A relay that falls asleep cannot say so: its part counts until its lease
 * ends or it wakes again.
 */
export class Rooms {
  readonly #most: number
  readonly #now: () => number
  readonly #taken = new Map<string, { subscriptions: number; until: number }>()

  constructor(most = MAX_SUBSCRIPTIONS, now: () => number = Date.now) {
    this.#most = most
    this.#now = now
  }

  /** Returns the part of a relay, by its name: it is the same after hibernation. */
  of(relay: string): Room {
    const most = (): number => {
      const now = this.#now()
      let left = this.#most
      for (const [name, { subscriptions, until }] of this.#taken) {
        if (name === relay) continue
        if (until <= now) this.#taken.delete(name)
        else left -= subscriptions
      }
      return left
    }
    return {
      has: (subscriptions) => {
        if (subscriptions === 0) this.#taken.delete(relay)
        else this.#taken.set(relay, { subscriptions, until: this.#now() + LEASE_MS })
      },
      get most() {
        return most()
      },
    }
  }
}

/** The rooms of this isolate. */
export const rooms = new Rooms()
