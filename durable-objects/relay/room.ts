/**
 * Buckets of all streams of all relays of an isolate together, each counted as often as it is subscribed. One that only a single stream has takes about 0.4 KB with
 * its name and its state, and objects of one class may share an isolate and its 128 MB.
 */
export const MAX_SUBSCRIPTIONS = 150_000

/** A relay that says nothing for so long sleeps, and what it had in memory is gone. While it cannot sleep it says something every 5 s. */
const LEASE_MS = 60_000

/** What one relay has of the room. */
export interface Room {
  /** So many it has now, whatever there is room for. */
  has(subscriptions: number): void
  /** For so many there would be room with what the other relays have. */
  readonly most: number
}

/** Room for subscriptions that relays share. Whoever falls asleep does not say so: what it had counts until its lease is over, or until it is awake again. */
export class Rooms {
  readonly #most: number
  readonly #now: () => number
  readonly #taken = new Map<string, { subscriptions: number; until: number }>()

  constructor(most = MAX_SUBSCRIPTIONS, now: () => number = Date.now) {
    this.#most = most
    this.#now = now
  }

  /** That of a relay, by its name: after a sleep it is the same one. */
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

/** Of this isolate. */
export const rooms = new Rooms()
