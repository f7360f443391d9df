import { createHash } from 'node:crypto'
import { RockpoolError } from './errors.ts'
import { hash64 } from './hash.ts'

export const TENANT_NAME = /^[a-z0-9-]{1,63}$/

/**
 * A tenant is one source database, one sync config and all their objects. Its name is checked wherever an object is
 * named, whichever directory it comes from. Throws ROCKPOOL_SETTINGS.
 */
function checked(tenant: string): string {
  if (TENANT_NAME.test(tenant)) return tenant
  throw new RockpoolError(
    'ROCKPOOL_SETTINGS',
    `${JSON.stringify(tenant)} cannot be the name of a tenant: it has 1 to 63 of a to z, 0 to 9 and -`,
  )
}

/**
 * Names of Durable Objects. No object of one tenant can be reached under another's name, because a tenant's name
 * contains no `/`. Throws as `checked` does.
 */
export const replicatorName = (tenant: string): string => checked(tenant)

/** Returns the name of relay `n` of a region: `tenant/region/n`. Throws as `checked` does. */
export const relayName = (tenant: string, region: string, n: number): string => `${checked(tenant)}/${region}/${n}`

/** The name of the one Directory of a deployment. */
export const DIRECTORY_NAME = 'directory'

/** Object names above this many UTF-8 bytes are hashed. */
const MAX_NAME_BYTES = 512

/**
 * Returns `tenant/bucket`, or `tenant/~<sha-256>` when that is longer than 512 bytes. (A bucket name never begins with
 * `~`.) Rejects as `checked` throws.
 */
export async function bucketObjectName(tenant: string, bucket: string): Promise<string> {
  const name = `${checked(tenant)}/${bucket}`
  const bytes = new TextEncoder().encode(name)
  if (bytes.length <= MAX_NAME_BYTES) return name
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
  return `${tenant}/~${Array.from(digest, (b) => b.toString(16).padStart(2, '0')).join('')}`
}

/** Clients send UUIDs. All clients of a user that send none are one client, `''`. */
export const CLIENT_ID = /^[\w.:-]{1,128}$/

/** UTF-16 units of a user (`sub` of a token), which becomes part of bucket names. */
export const MAX_USER_LENGTH = 1_024

/**
 * Returns the mailbox of a user. The write checkpoints of all their clients arrive there as rows of table
 * `write_checkpoint`, `{"id":"<client id>","n":"<decimal>"}`.
 */
export const mailboxName = (user: string, seed?: string): string => `${mailboxPrefix(seed)}${JSON.stringify([user])}`

/**
 * The number of clients of one user whose write checkpoints are kept. When there are more, those that asked longest ago
 * are forgotten.
 */
export const MAX_MAILBOX_CLIENTS = 32

/**
 * Returns the older mailbox of one client, with one row `{"id":"w","n":"<decimal>"}`. It cannot equal a user's mailbox:
 * no JSON list of one item is a list of two.
 */
export const clientMailboxName = (user: string, clientId: string, seed?: string): string =>
  `${mailboxPrefix(seed)}${JSON.stringify([user, clientId])}`

/** Returns a new mailbox name for each new storage of the replicator: see `Plan.seed`. */
export const mailboxPrefix = (seed?: string): string => (seed === undefined ? 'mailbox#' : `mailbox.${seed}#`)

/** UTF-16 units up to which frames carry a name unhashed. */
export const MAX_FRAME_NAME = 512

/**
 * Returns the name of a bucket in notices, relays and streams: its own, which is unique by construction, or
 * `~<sha-256>` when that is longer than 512 UTF-16 units. (A bucket name never begins with `~`. Lone surrogates, which
 * UTF-8 cannot encode, are escaped in it.)
 */
export const frameName = (bucket: string): string =>
  bucket.length <= MAX_FRAME_NAME ? bucket : `~${createHash('sha256').update(bucket).digest('hex')}`

/** Returns whether a name in a frame is the bucket's own, not a hash. */
export const isWholeName = (name: string): boolean => !name.startsWith('~')

/**
 * Returns the name that code of message version 1 gives a bucket. Anybody can find a collision in a second, so it is
 * only a hint that some bucket may have changed, and never decides to which bucket ops or a state belong.
 */
export const hashName = (bucket: string): string => hash64(bucket)
