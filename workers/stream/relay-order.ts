import { createHash } from 'node:crypto'
import { MAX_SHOWN_SDK, MAX_SHOWN_TEXT, type StreamSource } from '../../protocol/messages/census.ts'
import { SOURCE_HEADER } from '../../protocol/messages/relay.ts'
import type { TokenMark } from '../../protocol/revocations.ts'

/** Whose stream it is, and by which token. */
export interface StreamOwner {
  user: string
  /** The client's id, or '' when it sends none. */
  client: string
  /** What its software calls itself. */
  sdk?: string | undefined
  token: TokenMark
}

/** The parameters of a stream's request to a relay. They are hashes, by which it counts streams and refuses tokens. */
export const relayUrl = ({ token: { user, client = '', jti, iat } }: StreamOwner): string =>
  `https://relay/stream?user=${user}&client=${client}&iat=${iat}${jti === undefined ? '' : `&jti=${jti}`}`

/** Returns the header by which a relay knows whose stream it is when an operator asks. */
export const sourceHeader = ({ user, client, sdk = '' }: StreamOwner): Record<string, string> => {
  const source: StreamSource = {
    user: user.slice(0, MAX_SHOWN_TEXT),
    client: client.slice(0, MAX_SHOWN_TEXT),
    sdk: sdk.slice(0, MAX_SHOWN_SDK),
  }
  return { [SOURCE_HEADER]: encodeURIComponent(JSON.stringify(source)) }
}

/**
 * Returns the relays for a user's streams, in order. All of a user's streams go to the first, so that it can count
 * them; the others are for when it is full.
 */
export function relayOrder(user: string, relays: number): number[] {
  const first = createHash('sha256').update(user).digest().readUInt32BE(0) % relays
  return Array.from({ length: relays }, (_, n) => (first + n) % relays)
}

/**
 * Chooses the relay of a stream: the first in its user's order that has room. A full relay is skipped until another one
 * has accepted the stream with all its buckets, so that a stream that fits nowhere ends.
 */
export class RelayChoice {
  readonly #order: readonly number[]
  #passed = 0

  constructor(order: readonly number[]) {
    this.#order = order
  }

  /** Undefined when all of them are full. */
  get next(): number | undefined {
    return this.#order[this.#passed]
  }

  /** The number of relays in a row that had no room. */
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
