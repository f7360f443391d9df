import type { X509Certificate } from 'node:crypto'
import { type Certificate, readCertificate, sameCertificate } from './certificate.ts'
import { MAX_ANCHORS, MAX_CHAIN_BYTES, MAX_CHAIN_CERTIFICATES } from './limits.ts'
import { findPath } from './path.ts'
import { refuse } from './refusal.ts'
import { checkLeaf, checkPin } from './rules.ts'
import { checkServerName } from './server-name.ts'

export { endPointOf } from './end-point.ts'
export { readAuthorities } from './pem.ts'
export type { Reason } from './refusal.ts'

export interface ChainOptions {
  /** DER of what the server sent, its own certificate first. */
  chain: readonly Uint8Array[]
  /** DER of the certificates of DATABASE_CA. The server's own certificate among them is a pin. */
  anchors: readonly Uint8Array[]
  /** Name or address of the host, as in the database URL. Not used with `ca`. */
  host: string
  /** `full`: it must be this host's certificate. `ca`: any certificate of these authorities. */
  mode: 'full' | 'ca'
  /** Milliseconds since 1970. */
  now: number
  /** The most authorities between the server and DATABASE_CA, when fewer than `MAX_PATH` allows. */
  maxIntermediates?: number
}

/**
 * Returns the certificates from the server's own to the authority of DATABASE_CA that vouches for it, or a pin alone.
 * Throws ROCKPOOL_SOURCE_TLS with `details: {reason}`. Revocation is not checked.
 */
export function verifyChain({
  chain,
  anchors,
  host,
  mode,
  now,
  maxIntermediates = Infinity,
}: ChainOptions): X509Certificate[] {
  checkSizes(chain, anchors)
  const trusted = anchors.map((der, i) => readCertificate(der, `certificate ${i + 1} of DATABASE_CA`))
  const [leaf, ...rest] = chain.map((der, i) =>
    readCertificate(der, i === 0 ? 'the certificate of the server' : `certificate ${i + 1} of the server`),
  )
  if (leaf === undefined) return refuse('unreadable', 'the server showed no certificate. Set ssl_cert_file in Postgres')
  const pinned = trusted.some((anchor) => sameCertificate(anchor, leaf))
  const path = pinned ? pinOf(leaf, now) : pathOf(leaf, rest, trusted, now, maxIntermediates)
  if (mode !== 'ca') checkServerName(leaf, host, !pinned)
  return path.map(({ x509 }) => x509)
}

function pinOf(leaf: Certificate, now: number): Certificate[] {
  checkPin(leaf, now)
  return [leaf]
}

function pathOf(
  leaf: Certificate,
  rest: Certificate[],
  anchors: Certificate[],
  now: number,
  maxIntermediates: number,
): Certificate[] {
  checkLeaf(leaf, now)
  const intermediates = rest.filter(
    (each, i) => ![leaf, ...anchors, ...rest.slice(0, i)].some((earlier) => sameCertificate(earlier, each)),
  )
  return findPath(leaf, { intermediates, anchors, now, maxIntermediates })
}

function checkSizes(chain: readonly Uint8Array[], anchors: readonly Uint8Array[]): void {
  const bytes = chain.reduce((sum, der) => sum + der.length, 0)
  if (chain.length > MAX_CHAIN_CERTIFICATES || bytes > MAX_CHAIN_BYTES)
    refuse(
      'too-large',
      `the server sent ${chain.length} certificates of ${bytes} bytes, and at most ${MAX_CHAIN_CERTIFICATES} of ${MAX_CHAIN_BYTES} are allowed. Let it send only its own chain`,
    )
  if (anchors.length === 0) refuse('authority', 'DATABASE_CA names no authority, so none can vouch for the server')
  if (anchors.length > MAX_ANCHORS)
    refuse(
      'too-large',
      `DATABASE_CA has ${anchors.length} certificates, and at most ${MAX_ANCHORS} are allowed. Leave out those of other regions`,
    )
}
