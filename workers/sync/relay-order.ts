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
