import { X509Certificate } from 'node:crypto'
import {
  DerReader,
  type Element,
  TAG,
  expectTag,
  inside,
  ownWith,
  readBits,
  readCount,
  readInteger,
  readTime,
  sameBytes,
} from './der.ts'
import { type Extensions, readExtensions } from './extensions.ts'
import { type Key, readKey } from './keys.ts'
import { MAX_CERTIFICATE_BYTES } from './limits.ts'
import { type Name, readName, sameName, showName } from './names.ts'
import { isRefusal, refuse } from './refusal.ts'

/** A certificate as our own reader sees it. Nothing in it is verified yet. */
export interface Certificate {
  der: Uint8Array
  /** 1 to 3. */
  version: number
  serial: Uint8Array
  /** The AlgorithmIdentifier of its signature, which is the same inside and outside. */
  signature: Uint8Array
  issuer: Name
  subject: Name
  /** Milliseconds since 1970. Both ends belong to the period. */
  notBefore: number
  notAfter: number
  key: Key
  extensions: Extensions
  /** For people: `"CN=db"`. */
  who: string
  /** The runtime's own object, which verifies signatures and gives a second opinion about the host. */
  x509: X509Certificate
}

/**
 * Reads a certificate. Throws `unreadable` or `too-large` (ROCKPOOL_SOURCE_TLS) for anything that is not a certificate
 * in strict DER. `what` names it for people.
 */
export function readCertificate(der: Uint8Array, what: string): Certificate {
  if (der.length > MAX_CERTIFICATE_BYTES)
    refuse('too-large', `${what} has ${der.length} bytes, and at most ${MAX_CERTIFICATE_BYTES} are allowed`)
  try {
    const parts = readParts(der)
    const x509 = new X509Certificate(der)
    // Node and workerd search their input for PEM first (2026-11): a forged certificate with a good one as PEM in an
    // extension would be the forged one for us and the good one for the runtime.
    if (!sameBytes(x509.raw, der)) refuse('unreadable', 'a certificate cannot be read: it contains another one')
    // Two readers, one answer: where they differ, one of them is being fooled.
    if (Date.parse(x509.validFrom) !== parts.notBefore || Date.parse(x509.validTo) !== parts.notAfter)
      refuse('unreadable', 'a certificate cannot be read: the runtime reads other dates')
    return { ...parts, x509 }
  } catch (error) {
    if (isRefusal(error, 'too-large')) throw error
    const why = isRefusal(error)
      ? error.message.replace(/^a certificate cannot be read: /, '')
      : 'the runtime refuses it'
    return refuse('unreadable', `${what} cannot be read: ${why}. It must be an X.509 certificate; issue it again`)
  }
}

function readParts(der: Uint8Array): Omit<Certificate, 'x509'> {
  const file = new DerReader(der)
  const outer = file.enter(TAG.sequence)
  file.end()
  const inner = outer.enter(TAG.sequence)
  const outerSignature = outer.next(TAG.sequence)
  readBits(outer.next(TAG.bits))
  outer.end()

  const version = readVersion(inner.optional(ownWith(0)))
  const serial = readInteger(inner.next(TAG.integer))
  const digits = serial[0] === 0 ? serial.length - 1 : serial.length
  if (digits > 20 || (serial[0] ?? 0) >= 0x80)
    refuse('unreadable', 'its serial number is negative or longer than 20 bytes')
  const signature = inner.next(TAG.sequence)
  if (!sameBytes(signature.whole, outerSignature.whole)) refuse('unreadable', 'it names two kinds of signature')
  const issuer = readName(inner.next(TAG.sequence))
  const [notBefore, notAfter] = readValidity(inner.next(TAG.sequence))
  const subject = readName(inner.next(TAG.sequence))
  const key = readKey(inner.next(TAG.sequence))
  const extended = inner.optional(ownWith(3))
  inner.end()
  if (extended !== undefined && version !== 3) refuse('unreadable', 'it has extensions, and is not of version 3')
  const extensions = extended === undefined ? { notFollowed: [] } : readExtended(extended)
  return {
    der,
    version,
    serial,
    signature: signature.whole,
    issuer,
    subject,
    notBefore,
    notAfter,
    key,
    extensions,
    who: `the certificate of "${showName(subject)}"`,
  }
}

function readVersion(element: Element | undefined): number {
  if (element === undefined) return 1
  const reader = inside(element)
  const version = readCount(reader.next(TAG.integer)) + 1
  reader.end()
  return version === 2 || version === 3 ? version : refuse('unreadable', 'it is of an unknown version')
}

function readValidity(element: Element): [number, number] {
  const reader = inside(expectTag(element, TAG.sequence))
  const times: [number, number] = [readTime(reader.next()), readTime(reader.next())]
  reader.end()
  return times
}

function readExtended(element: Element): Extensions {
  const reader = inside(element)
  const list = reader.enter(TAG.sequence)
  reader.end()
  return readExtensions(list)
}

export const isSelfIssued = (certificate: Certificate): boolean => sameName(certificate.subject, certificate.issuer)

export const sameCertificate = (a: Certificate, b: Certificate): boolean => sameBytes(a.der, b.der)

/** SHA-256 of the whole certificate, `AB:CD:…`, as `openssl x509 -fingerprint -sha256` shows it. */
export const fingerprint = (certificate: Certificate): string => certificate.x509.fingerprint256
