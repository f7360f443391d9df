import type { Certificate } from './certificate.ts'
import { isEmpty } from './names.ts'
import { PIN, checkAuthorityProfile, checkServerProfile } from './profile.ts'
import { refuse } from './refusal.ts'

// What one certificate must be for its place in a path (RFC 5280).

const SERVER_AUTH = '1.3.6.1.5.5.7.3.1'
const ANY_USAGE = '2.5.29.37.0'

/** The certificate of the server, when authorities vouch for it. */
export function checkLeaf(leaf: Certificate, now: number): void {
  const { who, extensions } = leaf
  checkPin(leaf, now)
  const no = (what: string): never => refuse('form', `${who} ${what}. Issue it again, ${PIN}`)
  if (isEmpty(leaf.issuer)) no('does not name its authority')
  if (extensions.basic?.ca || extensions.keyUsage?.keyCertSign) no('belongs to an authority, not to a server')
  if (extensions.basic?.pathLength !== undefined) no('has a path length, which is for authorities')
  if (extensions.constraints) no('has name constraints, which are for authorities')
  checkServerProfile(leaf)
}

/**
 * Checks the certificate of the server when it is in DATABASE_CA itself. No authority vouches for it, so its issuer and
 * its form do not matter.
 */
export function checkPin(leaf: Certificate, now: number): void {
  const { who, extensions } = leaf
  checkAny(leaf, now)
  checkUsage(leaf)
  if (extensions.keyUsage && !extensions.keyUsage.digitalSignature)
    refuse('usage', `${who} may not sign (keyUsage), so it cannot be used in TLS. Issue it again with digitalSignature`)
}

/** Checks a certificate that signs others. `anchor` says that it is in DATABASE_CA. */
export function checkAuthority(authority: Certificate, anchor: boolean, now: number): void {
  const { who, extensions } = authority
  checkAny(authority, now)
  const no = (what: string): never =>
    refuse(
      'not-an-authority',
      `${who} ${what}, so it may not sign certificates. Use a certificate from an authority that may, ${PIN}`,
    )
  // Only version 3 has extensions, so this refuses other versions as well.
  if (!extensions.basic?.ca) no('does not belong to an authority (basicConstraints)')
  if (extensions.keyUsage && !extensions.keyUsage.keyCertSign) no('lacks keyCertSign (keyUsage)')
  if (isEmpty(authority.issuer)) no('does not name who signed it')
  if (!anchor) checkUsage(authority)
  checkAuthorityProfile(authority, anchor)
}

function checkUsage({ who, extensions }: Certificate): void {
  const usages = extensions.extendedKeyUsage?.usages
  if (usages && (!usages.includes(SERVER_AUTH) || usages.includes(ANY_USAGE)))
    refuse(
      'usage',
      `${who} is not for servers (extendedKeyUsage). Issue it again with serverAuth, and without anyExtendedKeyUsage`,
    )
}

function checkAny(certificate: Certificate, now: number): void {
  const { who, extensions, notBefore, notAfter } = certificate
  // Certificates have no fractions of seconds.
  const second = Math.floor(now / 1000) * 1000
  if (!(second <= notAfter))
    refuse(
      'expired',
      `${who} expired on ${date(notAfter)}. Renew it; a new authority must be put into DATABASE_CA as well`,
    )
  if (!(second >= notBefore))
    refuse('not-yet-valid', `${who} is valid from ${date(notBefore)} on. Is the clock right where it was issued?`)
  checkKey(certificate)
  if (extensions.notFollowed.length > 0)
    refuse(
      'critical',
      `${who} has a critical extension that is not understood (${extensions.notFollowed.join(', ')}). Issue it again without it`,
    )
}

export function checkKey({ who, key }: Certificate): void {
  if (key.problem !== null)
    refuse(
      'key',
      `the key of ${who} is ${key.problem}. Issue it again with RSA of 2,048 bits or more, P-256, P-384, P-521 or Ed25519`,
    )
}

const date = (time: number): string => new Date(time).toISOString().replace('.000', '')
