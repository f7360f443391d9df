import { createHash } from 'node:crypto'

// Which tokens are refused although their signature is valid. Operators name users, clients and tokens as they are;
// relays, buckets and Workers say them as hashes.

/** By what tokens are revoked: all of a user, all with which a client (a device) connects, or one by its `jti`. */
export const REVOKED_BY = ['user', 'client', 'jti'] as const
export type RevokedBy = (typeof REVOKED_BY)[number]

/** Revocations that a tenant may have at a time. They are in the memory of its replicator. */
export const MAX_REVOCATIONS = 10_000
/** The longest user, client id or `jti` that can be revoked. */
export const MAX_REVOKED_LENGTH = 1_024

export interface Subject {
  of: RevokedBy
  value: string
}

/** Times are in seconds since 1970. */
export interface Revocation extends Subject {
  /** Tokens that were issued (`iat`) then or before are refused. Null: all are, until that is taken back. */
  before: number | null
  /** When the last of these tokens has expired, so that this is forgotten. Null: never. */
  until: number | null
}

/** A token and who uses it. Texts are hashes: see `subjectHash`. */
export interface TokenMark {
  user: string
  /** Absent where no client is named. */
  client?: string | undefined
  /** Absent when the token has none. */
  jti?: string | undefined
  /** Seconds since 1970. */
  iat: number
}

export const subjectHash = (value: string): string => createHash('sha256').update(value).digest('hex').slice(0, 32)

/**
 * Returns whether a token is refused. `find` returns the `before` of a revocation by the hash of its subject, undefined
 * when there is none.
 */
export function isRevoked(mark: TokenMark, find: (of: RevokedBy, hash: string) => number | null | undefined): boolean {
  return REVOKED_BY.some((of) => {
    const hash = mark[of]
    const before = hash === undefined ? undefined : find(of, hash)
    return before === null || (before !== undefined && mark.iat <= before)
  })
}

/** A revocation as relays and buckets are told of it: `hash` is that of the subject. */
export interface ToldRevocation {
  of: RevokedBy
  hash: string
  before: number | null
}

/** Returns whether a token is refused by this revocation. */
export const isRevokedBy = (mark: TokenMark, told: ToldRevocation): boolean =>
  isRevoked(mark, (of, hash) => (of === told.of && hash === told.hash ? told.before : undefined))
