import { createHash } from 'node:crypto'
import { TENANT_NAME } from '../../protocol/names.ts'

/**
 * The first segments of our own paths. A tenant with such a name could not be told from them where an SDK resolves its
 * path against an address.
 */
export const RESERVED: ReadonlySet<string> = new Set([
  'sync',
  'admin',
  'buckets',
  'upload',
  'status',
  'probes',
  'dashboard',
  'metrics',
  't',
  'tenants',
  'write-checkpoint2.json',
])

/** Returns why a tenant cannot have this name, or null when it can. */
export function nameProblem(name: string): string | null {
  if (!TENANT_NAME.test(name)) return 'a name has 1 to 63 lower-case letters, digits and -'
  return RESERVED.has(name) ? `${name} is the beginning of a path of Rockpool, so it is not the name of a tenant` : null
}

const READABLE = 40
const HASH = 8

/**
 * Returns the name of the slot and of the publication that Rockpool makes for a tenant: up to 58 characters, of which
 * Postgres allows 63. Two names may be the same in their first 40 characters, or differ by `-` and `_` alone, so a hash
 * of the name follows.
 */
export function sourceName(tenant: string): string {
  const hash = createHash('sha256').update(tenant).digest('hex').slice(0, HASH)
  return `rockpool_${tenant.slice(0, READABLE).replaceAll('-', '_')}_${hash}`
}

/** Returns the audience of a tenant's tokens when nothing else is said. */
export const ownAudience = (tenant: string): string => `rockpool:${tenant}`

/** A host name in lower case, without a port. */
export const HOST_NAME = /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+$/
