import { RockpoolError } from '../../../protocol/errors.ts'
import { RDS_ROOTS } from './rds.ts'
import type { Root } from './root.ts'
import { SUPABASE_ROOTS } from './supabase.ts'

/** Names that stand for roots in DATABASE_CA. */
export type RootsName = 'supabase' | 'rds'

export const isRootsName = (text: string): text is RootsName => text === 'supabase' || text === 'rds'

/**
 * Returns the shipped roots that sign this host's certificates, or null for any other host. The command line and the
 * edge agree about it.
 */
export function rootsOfHost(host: string): RootsName | null {
  const name = plain(host)
  if (/\.supabase\.(co|com)$/.test(name)) return 'supabase'
  return /\.rds\.amazonaws\.com(\.cn)?$/.test(name) ? 'rds' : null
}

/**
 * Returns true for hosts whose servers sign their own certificates, behind a proxy with another name, so that no
 * authority can vouch for them.
 */
export const isSelfSigned = (host: string): boolean => plain(host).endsWith('.proxy.rlwy.net')

/**
 * Returns the DER of the roots with this name. For RDS they are those of the region in the host's name, or all of them
 * when the name has no region (a name of your own, an address). Throws ROCKPOOL_SETTINGS for a region whose roots are
 * not shipped.
 */
export function rootsFor(name: RootsName, host: string): Uint8Array[] {
  if (name === 'supabase') return SUPABASE_ROOTS.map(decoded)
  const region = regionOf(host)
  if (region === null) return Object.values(RDS_ROOTS).flatMap((roots) => Object.values(roots).map(decoded))
  const roots = Object.hasOwn(RDS_ROOTS, region) ? RDS_ROOTS[region] : undefined
  if (roots) return Object.values(roots).map(decoded)
  throw new RockpoolError(
    'ROCKPOOL_SETTINGS',
    `DATABASE_CA: the roots of RDS in ${region} are not shipped. Find the instance's certificate authority in the certificate bundle of that region (Amazon RDS User Guide, "Certificate bundles by AWS Region"), and set DATABASE_CA to that certificate`,
  )
}

/** `x.abc.eu-west-1.rds.amazonaws.com`. */
function regionOf(host: string): string | null {
  return /\.([a-z]{2}(?:-[a-z]+)+-\d+)\.rds\.amazonaws\.com(?:\.cn)?$/.exec(plain(host))?.[1] ?? null
}

const plain = (host: string): string => host.toLowerCase().replace(/\.$/, '')

const decoded = ({ der }: Root): Uint8Array => Uint8Array.from(atob(der), (character) => character.charCodeAt(0))
