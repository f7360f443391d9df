import { createHash } from 'node:crypto'
import { hash64 } from './hash.ts'

/** A tenant: one source database, one sync config and all their objects. */
export const TENANT_NAME = /^[a-z0-9-]{1,63}$/

/** Durable Object names; an object of one tenant can never be reached under another's name: a tenant contains no `/`. */
export const replicatorName = (tenant: string): string => tenant

/** Relay `n` of a region: `tenant/region/n`. */
export const relayName = (tenant: string, region: string, n: number): string => `${tenant}/${region}/${n}`

/** Object names above this many UTF-8 bytes are hashed. */
const MAX_NAME_BYTES = 512

/** `tenant/bucket`, or `tenant/~<sha-256>` when that is longer than 512 bytes (a bucket name never begins with `~`). */
export async function bucketObjectName(tenant: string, bucket: string): Promise<string> {
  const name = `${tenant}/${bucket}`
  const bytes = new TextEncoder().encode(name)
  if (bytes.length <= MAX_NAME_BYTES) return name
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
  return `${tenant}/~${Array.from(digest, (b) => b.toString(16).padStart(2, '0')).join('')}`
}

/** Clients send UUIDs. One that sends none is the one client `''` of its user. */
export const CLIENT_ID = /^[\w.:-]{1,128}$/

/** UTF-16 units of a user (`sub` of a token), which becomes part of names of buckets. */
export const MAX_USER_LENGTH = 1_024

/** The mailbox of a user: write checkpoints of all of his clients arrive there as rows of table `write_checkpoint`, `{"id":"<client id>","n":"<decimal>"}`. */
export const mailboxName = (user: string, seed?: string): string => `${mailboxPrefix(seed)}${JSON.stringify([user])}`

/** Clients of one user whose write checkpoints are kept; of more, those that asked longest ago are forgotten. */
export const MAX_MAILBOX_CLIENTS = 32

/** That of one client, with one row `{"id":"w","n":"<decimal>"}`, as it was before. Nobody's list of one is a list of two, however he calls himself. */
export const clientMailboxName = (user: string, clientId: string, seed?: string): string =>
  `${mailboxPrefix(seed)}${JSON.stringify([user, clientId])}`

/** A storage of the replicator that began anew has mailboxes of its own: see `Plan.seed`. */
export const mailboxPrefix = (seed?: string): string => (seed === undefined ? 'mailbox#' : `mailbox.${seed}#`)

/** UTF-16 units of a name that stands in frames as it is. */
export const MAX_FRAME_NAME = 512

/**
 * How notices, relays and streams call a bucket: its name, which is unique by construction, or `~<sha-256>` when that is longer than 512 UTF-16 units. (A name never
 * begins with `~`; lone surrogates, which UTF-8 has no bytes for, are escaped in it.)
 */
export const frameName = (bucket: string): string =>
  bucket.length <= MAX_FRAME_NAME ? bucket : `~${createHash('sha256').update(bucket).digest('hex')}`

/** Whether the name in a frame is that of the bucket itself. */
export const isWholeName = (name: string): boolean => !name.startsWith('~')

/**
 * How code of message version 1 calls a bucket. Anybody finds another name with the same hash in a second, so it is a hint that some bucket may have changed,
 * and never says which one ops or a state are of.
 */
export const hashName = (bucket: string): string => hash64(bucket)
