import type { NamedTenant } from '../../protocol/messages/directory.ts'
import { TENANT_NAME } from '../../protocol/names.ts'
import { RESERVED } from './names.ts'

// For which tenant a request is, as its address says: by a host of the tenant, by a path /t/NAME/…, or at the root for
// the tenant that deployments with one tenant have.

/** The tenants that are served, and the addresses of the deployment. */
export interface Addresses {
  byName: ReadonlyMap<string, NamedTenant>
  /** Tenants by their exact hosts. */
  byHost: ReadonlyMap<string, string>
  /** Hosts of the deployment itself. They matter as soon as there are hosts of tenants. */
  hosts: readonly string[]
  /** `sync.example.com`: the host NAME.sync.example.com is the tenant NAME. Null: no host is. */
  wildcard: string | null
  /** The tenant at the root. */
  root: string
}

/**
 * `nobody`: there is nothing for strangers at this address. `endpoint`: an SDK resolved its path against an address
 * that does not end in a slash.
 */
export type Addressee = { name: string } | 'nobody' | 'endpoint'

const TENANT_PATH = /^\/t\/([^/]*)(?:\/+(.*))?$/

/**
 * Returns for whom a request is. A host that belongs to a tenant has no other tenants under its paths. Once any host is
 * a tenant's, one that is neither a tenant's nor the deployment's own has nothing: whoever points a name of theirs at
 * us, or forges the header, meets no tenant.
 */
export function addresseeOf(
  { hostname, pathname }: Pick<URL, 'hostname' | 'pathname'>,
  addresses: Addresses,
): Addressee {
  const byHost = tenantOfHost(hostname, addresses)
  const path = TENANT_PATH.exec(pathname)
  if (byHost !== null) return path === null ? served(byHost, addresses) : 'nobody'
  if (!isOwnHost(hostname, addresses)) return 'nobody'
  if (path === null) return served(addresses.root, addresses)
  const [, name = ''] = path
  return RESERVED.has(name) ? 'endpoint' : served(name, addresses)
}

/** Returns whether an address is the deployment's, and not a tenant's. */
export const isOwnAddress = (
  { hostname, pathname }: Pick<URL, 'hostname' | 'pathname'>,
  addresses: Addresses,
): boolean =>
  tenantOfHost(hostname, addresses) === null && isOwnHost(hostname, addresses) && !TENANT_PATH.test(pathname)

/** Slashes before a path of SDKs: those that put one behind any endpoint have two when it ends in one. */
const FIRST_SLASHES = /^\/+(?=\/(?:sync\/(?:stream|checkpoint-request)|write-checkpoint2\.json)$)/

/** Returns the path as its route has it. Only of what SDKs ask for slashes are dropped. */
export const pathOfSdk = (pathname: string): string => pathname.replace(FIRST_SLASHES, '')

/**
 * Returns the path without the tenant: `/t/acme/sync/stream` and `/t/acme//sync/stream` are `/sync/stream`. (Kotlin
 * puts a slash behind any endpoint.)
 */
export function pathWithin(pathname: string): string {
  const path = TENANT_PATH.exec(pathname)
  return path === null ? pathOfSdk(pathname) : `/${path[2] ?? ''}`
}

const tenantOfHost = (hostname: string, { byHost, wildcard }: Addresses): string | null =>
  byHost.get(hostname.toLowerCase()) ?? byWildcard(hostname.toLowerCase(), wildcard)

const isOwnHost = (hostname: string, { byHost, wildcard, hosts }: Addresses): boolean =>
  (byHost.size === 0 && wildcard === null) || hosts.includes(hostname.toLowerCase())

function byWildcard(host: string, wildcard: string | null): string | null {
  if (wildcard === null || !host.endsWith(`.${wildcard}`)) return null
  const label = host.slice(0, -wildcard.length - 1)
  return TENANT_NAME.test(label) ? label : null
}

const served = (name: string, { byName }: Addresses): Addressee =>
  byName.get(name)?.state === 'active' ? { name } : 'nobody'
