import { createHash } from 'node:crypto'

/** Whose stream it is. */
export interface StreamOwner {
  user: string
  /** '' for a client that does not name itself. */
  client: string
}

const hash = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 32)

/** How a relay is asked for a stream: it counts by hashes, and keeps no names. */
export const relayUrl = ({ user, client }: StreamOwner): string => `https://relay/stream?user=${hash(user)}&client=${hash(client)}`

/** Relays for the streams of a user, the first one first: all of a user's are at one, so that it knows how many there are. The others are for when it is full. */
export function relayOrder(user: string, relays: number): number[] {
  const first = createHash('sha256').update(user).digest().readUInt32BE(0) % relays
  return Array.from({ length: relays }, (_, n) => (first + n) % relays)
}

/**
 * The relay that a stream goes to: the first of its user's order that has room. One without room is passed over until another one has taken the stream with
 * all its buckets, so that a stream that fits nowhere comes to an end.
 */
export class RelayChoice {
  readonly #order: readonly number[]
  #passed = 0

  constructor(order: readonly number[]) {
    this.#order = order
  }

  /** Undefined: all of them are full. */
  get next(): number | undefined {
    return this.#order[this.#passed]
  }

  /** How many in a row had no room. */
  get passed(): number {
    return this.#passed
  }

  full(): void {
    this.#passed++
  }

  served(): void {
    this.#passed = 0
  }
}
