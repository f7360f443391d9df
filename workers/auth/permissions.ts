import { RockpoolError } from '../../protocol/errors.ts'
import { TENANT_NAME } from '../../protocol/names.ts'

/**
 * What an operator may do, each by itself: none includes another. `read`: see the state of a tenant, without what rows
 * and users are called. `data`: see keys of rows, names of buckets and users. `deploy`: change the sync config, which
 * sends any row that Rockpool may read to devices. `write`: suspend, revoke, verify. `tenants`: make, change and delete
 * tenants.
 */
export const PERMISSIONS = ['read', 'data', 'deploy', 'write', 'tenants'] as const
export type Permission = (typeof PERMISSIONS)[number]

/** For which tenants a permission is asked: for one, for all there are, or for any of them. */
export type Scope = { tenant: string } | 'all' | 'any'

/** Returns whether an operator has a permission. */
export type Permissions = (permission: Permission, scope: Scope) => boolean

/** What one key, claim or role may list. */
const MAX_LISTED = 1_000
/** Characters of a subject in a message. */
const MAX_SHOWN = 100

export const everything: Permissions = () => true

/** Returns what both permit. */
export const both =
  (one: Permissions, other: Permissions): Permissions =>
  (permission, scope) =>
    one(permission, scope) && other(permission, scope)

/**
 * Reads a list such as `["read", "deploy:acme"]`: a permission, for all tenants or for the named one. Returns null when
 * it is none: what cannot be read must not permit anything.
 */
export function permissionsOf(value: unknown): Permissions | null {
  if (!Array.isArray(value) || value.length === 0 || value.length > MAX_LISTED) return null
  const texts: readonly unknown[] = value
  if (!texts.every(isListed)) return null
  const listed = new Set(texts)
  return (permission, scope) => {
    if (listed.has(permission)) return true
    if (scope === 'all') return false
    if (scope === 'any') return texts.some((text) => text.startsWith(`${permission}:`))
    return listed.has(`${permission}:${scope.tenant}`)
  }
}

/** What `permissionsOf` reads, in words for people. */
export const PERMISSIONS_FORM = `a list of ${PERMISSIONS.join(', ')}, each with ":NAME" behind it when it is for one tenant alone`

function isListed(text: unknown): text is string {
  if (typeof text !== 'string') return false
  const [permission = '', tenant, ...more] = text.split(':')
  const isKnown = PERMISSIONS.some((each) => each === permission)
  return isKnown && more.length === 0 && (tenant === undefined || TENANT_NAME.test(tenant))
}

/** Who administers, as a verified credential says. */
export interface Operator {
  /** `sub` of the token. */
  by: string
  /** What vouches for that, for the audit: the `kid` of a key, or its place in OPERATOR_KEYS; or `claim`. */
  key: string
  may: Permissions
}

/** Throws ROCKPOOL_PERMISSION. */
export function requirePermission({ by, key, may }: Operator, permission: Permission, scope: Scope): void {
  if (may(permission, scope)) return
  const where =
    typeof scope === 'object' ? ` for the tenant ${scope.tenant}` : scope === 'all' ? ' for all tenants' : ''
  const who = `${by.slice(0, MAX_SHOWN)} (key ${key})`
  throw new RockpoolError(
    'ROCKPOOL_PERMISSION',
    `this needs the permission ${permission}${where}, which ${who} does not have`,
    { details: { permission, tenant: typeof scope === 'object' ? scope.tenant : null, by, key } },
  )
}
