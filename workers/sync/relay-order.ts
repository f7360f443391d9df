import { createHash } from 'node:crypto'

/** Relays for the streams of a user, the first one first: all of a user's are at one, so that it knows how many there are. The others are for when it is full. */
export function relayOrder(user: string, relays: number): number[] {
  const first = createHash('sha256').update(user).digest().readUInt32BE(0) % relays
  return Array.from({ length: relays }, (_, n) => (first + n) % relays)
}
