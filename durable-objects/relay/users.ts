/** Streams that one user may have open: each device has one or two, and half-open ones live for five minutes. `MAX_STREAMS_PER_USER` changes it. */
export const MAX_STREAMS_PER_USER = 20
/** A stream of another client that is younger than this is not closed in favour of a new one: two devices would push each other out for ever. */
const YOUNG_MS = 60_000

/** Who a stream is of, as hashes; null for streams of an older Worker, which are not counted. */
export interface StreamUser {
  user: string
  client: string
  /** Milliseconds since 1970. */
  since: number
}

/** `close`: the stream that makes room. */
export type Admission<S> = { kind: 'admitted'; close: S | null } | { kind: 'refused'; retryAfterSeconds: number }

/**
 * Whether a stream of a user may come. All streams of a user come to one relay, so the number is exact. Over the limit the oldest stream of the same client
 * goes, which is most often a half-open one: a phone that comes out of a tunnel must not meet its own limit. Then the oldest of all, if it is old enough.
 */
export function admit<S>(
  streams: Iterable<[S, StreamUser]>,
  { user, client }: Pick<StreamUser, 'user' | 'client'>,
  now: number,
  most = MAX_STREAMS_PER_USER,
): Admission<S> {
  const own = [...streams].filter(([, each]) => each.user === user).sort(([, a], [, b]) => a.since - b.since)
  if (own.length < most) return { kind: 'admitted', close: null }
  const same = own.find(([, each]) => each.client === client)
  if (same) return { kind: 'admitted', close: same[0] }
  const [oldest] = own
  if (!oldest) return { kind: 'refused', retryAfterSeconds: YOUNG_MS / 1_000 }
  const age = now - oldest[1].since
  if (age >= YOUNG_MS) return { kind: 'admitted', close: oldest[0] }
  return { kind: 'refused', retryAfterSeconds: Math.max(1, Math.ceil((YOUNG_MS - age) / 1_000)) }
}
