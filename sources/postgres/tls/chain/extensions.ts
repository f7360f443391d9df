import {
  type DerReader,
  type Element,
  TAG,
  expectTag,
  inside,
  members,
  own,
  ownWith,
  readBits,
  readBoolean,
  readCount,
  readOid,
} from './der.ts'
import { type NameConstraints, readNameConstraints } from './constraints.ts'
import { MAX_EXTENSIONS } from './limits.ts'
import { type GeneralName, readGeneralName, readGeneralNames } from './names.ts'
import { refuse } from './refusal.ts'

/** The extensions of a certificate; undefined for those that it does not have. */
export interface Extensions {
  basic?: { critical: boolean; ca: boolean; pathLength: number | undefined }
  keyUsage?: { digitalSignature: boolean; keyCertSign: boolean }
  extendedKeyUsage?: { critical: boolean; usages: string[] }
  alternativeNames?: { critical: boolean; names: GeneralName[] }
  constraints?: NameConstraints
  subjectKey?: Uint8Array
  /** It may name issuer and serial number of the authority's certificate, with the key or instead of it. */
  authorityKey?: { keyId: Uint8Array | undefined }
  /**
   * Identifiers of extensions that would have to be processed but are not: unknown critical ones, and policies,
   * critical or not.
   */
  notFollowed: string[]
}

interface Raw {
  critical: boolean
  /** Reads the content of the extension's OCTET STRING. */
  value: DerReader
}

const READERS: Record<string, (into: Extensions, raw: Raw) => void> = {
  '2.5.29.19': (into, { critical, value }) => {
    const reader = value.enter(TAG.sequence)
    const flag = reader.optional(TAG.boolean)
    const length = reader.optional(TAG.integer)
    reader.end()
    into.basic = { critical, ca: flag !== undefined && readBoolean(flag), pathLength: length && readCount(length) }
  },
  '2.5.29.15': (into, { value }) => {
    const { bytes } = readBits(value.next(TAG.bits))
    const bit = (number: number) => ((bytes[number >> 3] ?? 0) & (0x80 >> (number & 7))) !== 0
    into.keyUsage = { digitalSignature: bit(0), keyCertSign: bit(5) }
  },
  '2.5.29.37': (into, { critical, value }) => {
    const usages = members(value.enter(TAG.sequence), MAX_EXTENSIONS, 'usages').map((usage) =>
      readOid(expectTag(usage, TAG.oid)),
    )
    into.extendedKeyUsage = { critical, usages }
  },
  '2.5.29.17': (into, { critical, value }) => {
    into.alternativeNames = { critical, names: readGeneralNames(value.enter(TAG.sequence)) }
  },
  '2.5.29.30': (into, { value }) => {
    into.constraints = readNameConstraints(value)
  },
  '2.5.29.14': (into, { critical, value }) => {
    into.subjectKey = value.next(TAG.octets).value
    if (critical) into.notFollowed.push('2.5.29.14')
  },
  '2.5.29.35': (into, { critical, value }) => {
    const reader = value.enter(TAG.sequence)
    const keyId = reader.optional(own(0))?.value
    const issuer = reader.optional(ownWith(1))
    reader.optional(own(2))
    reader.end()
    if (issuer) readGeneralNames(inside(issuer))
    into.authorityKey = { keyId }
    if (critical) into.notFollowed.push('2.5.29.35')
  },
  // Where to ask about the authority. Nobody is asked, but a malformed extension makes the certificate unreadable.
  '1.3.6.1.5.5.7.1.1': (into, { critical, value }) => {
    for (const place of members(value.enter(TAG.sequence), MAX_EXTENSIONS, 'places to ask')) {
      const reader = inside(expectTag(place, TAG.sequence))
      readOid(reader.next(TAG.oid))
      readGeneralName(reader.next())
      reader.end()
    }
    if (critical) into.notFollowed.push('1.3.6.1.5.5.7.1.1')
  },
  // policyConstraints, policyMappings, inhibitAnyPolicy
  '2.5.29.36': (into, { value }) => skip(into, '2.5.29.36', value),
  '2.5.29.33': (into, { value }) => skip(into, '2.5.29.33', value),
  '2.5.29.54': (into, { value }) => skip(into, '2.5.29.54', value),
}

function skip(into: Extensions, oid: string, value: DerReader): void {
  into.notFollowed.push(oid)
  value.next()
}

/**
 * Reads the content of `[3]` of a certificate. Throws for a repeated extension, and for a known one of another form.
 */
export function readExtensions(list: DerReader): Extensions {
  const found: Extensions = { notFollowed: [] }
  const seen = new Set<string>()
  const elements = members(list, MAX_EXTENSIONS, 'extensions')
  if (elements.length === 0) refuse('unreadable', 'a certificate cannot be read: its list of extensions is empty')
  for (const element of elements) {
    const reader = inside(expectTag(element, TAG.sequence))
    const oid = readOid(reader.next(TAG.oid))
    const flag = reader.optional(TAG.boolean)
    const content: Element = reader.next(TAG.octets)
    reader.end()
    if (seen.has(oid)) refuse('unreadable', `a certificate cannot be read: it has extension ${oid} twice`)
    seen.add(oid)
    const critical = flag !== undefined && readBoolean(flag)
    const read = READERS[oid]
    if (read !== undefined) {
      const value = inside(content)
      read(found, { critical, value })
      value.end()
    } else if (critical) found.notFollowed.push(oid)
  }
  return found
}
