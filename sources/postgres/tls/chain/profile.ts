import { type Certificate, isSelfIssued } from './certificate.ts'
import { sameBytes } from './der.ts'
import { isEmpty } from './names.ts'
import { refuse } from './refusal.ts'

// The form that the profile of public authorities (the CA/Browser Forum's, and RFC 5280 where it only says what
// authorities should do) requires of certificates. Nothing here keeps an impostor out on its own, and a private
// authority may not follow it; docs/decisions/0019 says who is affected. It does not apply to a pin.

export const PIN = 'or put the certificate of the server itself into DATABASE_CA'

export function checkServerProfile(leaf: Certificate): void {
  const form = (what: string): never => refuse('form', `${leaf.who} ${what}. Issue it again, ${PIN}`)
  if (leaf.extensions.extendedKeyUsage?.critical) form('has a critical extendedKeyUsage')
  checkSigned(leaf, form)
}

/** `anchor` says that it is in DATABASE_CA. */
export function checkAuthorityProfile(authority: Certificate, anchor: boolean): void {
  const form = (what: string): never =>
    refuse('form', `${authority.who} ${what}. Issue that authority's certificate again, ${PIN}`)
  if (anchor && isSelfIssued(authority)) checkRoot(authority, form)
  else checkSigned(authority, form)
}

/** A root must not have usages, and must not name another key than its own as the one that signed it. */
function checkRoot({ extensions }: Certificate, form: (what: string) => never): void {
  const { authorityKey, subjectKey, extendedKeyUsage } = extensions
  if (extendedKeyUsage) form('is a root with an extendedKeyUsage')
  if (authorityKey?.keyId && !sameBytes(authorityKey.keyId, subjectKey ?? new Uint8Array()))
    form('is a root whose authorityKeyIdentifier differs from its subjectKeyIdentifier')
}

/**
 * Checks a certificate that another one signed. Key identifiers may be missing: they only say where to look first, and
 * every authority of the name is tried.
 */
function checkSigned({ extensions, subject, serial }: Certificate, form: (what: string) => never): void {
  if (serial.every((byte) => byte === 0)) form('has the serial number 0')
  if (extensions.alternativeNames && extensions.alternativeNames.critical !== isEmpty(subject))
    form('has alternative names that are critical although it has a subject, or not critical although it has none')
}
