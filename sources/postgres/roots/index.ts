import { RockpoolError } from '../../../protocol/errors.ts'
import { RDS_ROOTS } from './rds.ts'
import type { Root } from './root.ts'
import { SUPABASE_ROOTS } from './supabase.ts'

/** Names that stand for roots in DATABASE_CA. */
export type RootsName = 'supabase' | 'rds'

export const isRootsName = (text: string): text is RootsName => text === 'supabase' || text === 'rds'

/** Whose certificates are of an authority that is shipped; null for all others. The command line and the edge find the same. */
export function rootsOfHost(host: string): RootsName | null {
  const name = plain(host)
  if (/\.supabase\.(co|com)$/.test(name)) return 'supabase'
  return /\.rds\.amazonaws\.com(\.cn)?$/.test(name) ? 'rds' : null
}

/** Hosts whose servers make their certificates themselves, behind a proxy of another name: nobody can vouch for them. */
export const isSelfSigned = (host: string): boolean => plain(host).endsWith('.proxy.rlwy.net')

/**
 * DER of the roots of that name. Of RDS those of the region in the name of the host; all of them when it says none (a name of your own, an address). Throws
 * ROCKPOOL_SETTINGS for a region whose roots are not shipped.
 */
export function rootsFor(name: RootsName, host: string): Uint8Array[] {
  if (name === 'supabase') return SUPABASE_ROOTS.map(decoded)
  const region = regionOf(host)
  if (region === null) return Object.values(RDS_ROOTS).flatMap((roots) => Object.values(roots).map(decoded))
  const roots = Object.hasOwn(RDS_ROOTS, region) ? RDS_ROOTS[region] : undefined
  if (roots) return Object.values(roots).map(decoded)
  throw new RockpoolError(
    'ROCKPOOL_SETTINGS',
    `DATABASE_CA: the roots of RDS in ${region} are not shipped. Put into DATABASE_CA, of the certificate bundle of that region (Amazon RDS User Guide, "Certificate bundles by AWS Region"), the certificate that the instance shows as its certificate authority`,
  )
}

/** `x.abc.eu-west-1.rds.amazonaws.com`. */
function regionOf(host: string): string | null {
  return /\.([a-z]{2}(?:-[a-z]+)+-\d+)\.rds\.amazonaws\.com(?:\.cn)?$/.exec(plain(host))?.[1] ?? null
}

const plain = (host: string): string => host.toLowerCase().replace(/\.$/, '')

const decoded = ({ der }: Root): Uint8Array => Uint8Array.from(atob(der), (character) => character.charCodeAt(0))
