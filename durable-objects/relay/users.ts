/**
 * Streams that one user may have open. Each device has one or two, and half-open ones live for five minutes.
 * `MAX_STREAMS_PER_USER` changes it.
 */
export const MAX_STREAMS_PER_USER = 20
/**
 * A stream of another client that is younger than this is not closed for a new one: two devices would keep closing each
 * other's streams.
 */
const YOUNG_MS = 60_000

/** Whose stream it is, as hashes. Streams of an older Worker have none and are not counted. */
export interface StreamUser {
  user: string
  client: string
  /** Milliseconds since 1970. */
  since: number
}

/** `close` is the stream that makes room. `of`: whose streams are too many. */
export type Admission<S> =
  { kind: 'admitted'; close: S | null } | { kind: 'refused'; of: 'user' | 'tenant'; retryAfterSeconds: number }

/**
 * Decides whether a user may open another stream. All streams of a user are at one relay, so the number is exact. Over
 * the limit, the oldest stream of the same client is closed, which is usually half-open: a phone that comes out of a
 * tunnel must not be refused because of its own dead stream. If there is none, the oldest of all is closed, if it is
 * old enough. `isFull`: the tenant has as many as it may, so only a stream of the same client makes room.
 */
export function admit<S>(
  streams: Iterable<[S, StreamUser]>,
  { user, client }: Pick<StreamUser, 'user' | 'client'>,
  now: number,
  most = MAX_STREAMS_PER_USER,
  isFull = false,
): Admission<S> {
  const own = [...streams].filter(([, each]) => each.user === user).sort(([, a], [, b]) => a.since - b.since)
  if (own.length < most && !isFull) return { kind: 'admitted', close: null }
  const same = own.find(([, each]) => each.client === client)
  if (same) return { kind: 'admitted', close: same[0] }
  if (isFull) return { kind: 'refused', of: 'tenant', retryAfterSeconds: YOUNG_MS / 1_000 }
  const [oldest] = own
  if (!oldest) return { kind: 'refused', of: 'user', retryAfterSeconds: YOUNG_MS / 1_000 }
  const age = now - oldest[1].since
  if (age >= YOUNG_MS) return { kind: 'admitted', close: oldest[0] }
  return { kind: 'refused', of: 'user', retryAfterSeconds: Math.max(1, Math.ceil((YOUNG_MS - age) / 1_000)) }
}
