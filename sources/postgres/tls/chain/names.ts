import {
  type DerReader,
  type Element,
  TAG,
  expectTag,
  inside,
  members,
  own,
  ownWith,
  readOid,
  sameBytes,
} from './der.ts'
import { MAX_NAMES } from './limits.ts'
import { refuse } from './refusal.ts'

/** One attribute of a distinguished name. */
interface Attribute {
  oid: string
  /** Tag, length and content of the value. */
  whole: Uint8Array
  /** The value as text, or null for kinds of text that are not read. */
  text: string | null
}

/** The distinguished name of a subject, an issuer or a constraint. */
export interface Name {
  der: Uint8Array
  /** Sets of attributes, which nearly always have one member. */
  parts: Attribute[][]
}

export type GeneralName =
  | { kind: 'dns'; value: string }
  | { kind: 'ip'; bytes: Uint8Array }
  | { kind: 'directory'; name: Name }
  /** E-mail, URI and everything else: no host is compared with it. */
  | { kind: 'other'; number: number }

const LABELS: Record<string, string> = {
  '2.5.4.3': 'CN',
  '2.5.4.6': 'C',
  '2.5.4.7': 'L',
  '2.5.4.8': 'ST',
  '2.5.4.10': 'O',
  '2.5.4.11': 'OU',
}
const COMMON_NAME = '2.5.4.3'
const EMAIL_ADDRESS = '1.2.840.113549.1.9.1'

export function readName(element: Element): Name {
  const parts = members(inside(expectTag(element, TAG.sequence)), MAX_NAMES, 'parts of a name').map((set) => {
    const attributes = members(inside(expectTag(set, TAG.set)), MAX_NAMES, 'parts of a name').map(readAttribute)
    if (attributes.length === 0) refuse('unreadable', 'a certificate cannot be read: a part of a name is empty')
    return attributes
  })
  return { der: element.whole, parts }
}

function readAttribute(element: Element): Attribute {
  const reader = inside(expectTag(element, TAG.sequence))
  const oid = readOid(reader.next(TAG.oid))
  const value = reader.next()
  reader.end()
  return { oid, whole: value.whole, text: readText(value) }
}

function readText({ tag, value }: Element): string | null {
  if (tag !== TAG.utf8 && tag !== TAG.printable && tag !== TAG.ia5) return null
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(value)
  } catch {
    return null
  }
}

/** Formats a name for people: `CN=db, O=Example`, without control characters, at most 200 characters long. */
export function showName({ parts }: Name): string {
  const text = parts.flat().map(({ oid, text }) => `${LABELS[oid] ?? oid}=${text ?? '?'}`)
  return shown(text.length === 0 ? '(no name)' : text.join(', '))
}

/**
 * Makes foreign text safe for a message. `\p{C}` are control characters and those that change the direction of text.
 */
export const shown = (text: string): string => {
  const clean = text.replaceAll(/\p{C}/gu, '�')
  return clean.length > 200 ? `${clean.slice(0, 199)}…` : clean
}

export const isEmpty = (name: Name): boolean => name.parts.length === 0

export const sameName = (a: Name, b: Name): boolean => sameBytes(a.der, b.der)

const attributesOf = (name: Name, oid: string): Attribute[] =>
  name.parts.flat().filter((attribute) => attribute.oid === oid)

export const commonNames = (name: Name): string[] => attributesOf(name, COMMON_NAME).map(({ text }) => text ?? '')

export const hasEmail = (name: Name): boolean => attributesOf(name, EMAIL_ADDRESS).length > 0

/** Returns true when `name` begins with all parts of `base`, byte for byte. */
export function isBelow(name: Name, base: Name): boolean {
  return base.parts.every((part, i) => {
    const other = name.parts[i]
    return (
      other?.length === part.length &&
      part.every((each, k) => each.oid === other[k]?.oid && sameBytes(each.whole, other[k].whole))
    )
  })
}

/**
 * Returns true when `name` might begin with the parts of `base` for a reader that compares more loosely: by kind of
 * text, letter case, spaces. A value that is not read as text might be anything.
 */
export function mayBeBelow(name: Name, base: Name): boolean {
  const fold = ({ text }: Attribute) => text?.normalize('NFKC').toLowerCase().replaceAll(/\s+/g, ' ').trim()
  const mayBe = (a: Attribute, b: Attribute) =>
    a.oid === b.oid && (a.text === null || b.text === null || fold(a) === fold(b))
  return base.parts.every((part, i) => {
    const other = name.parts[i]
    return other?.length === part.length && part.every((each) => other.some((candidate) => mayBe(each, candidate)))
  })
}

/** Reads alternative names. Throws for a malformed one, so that no other reader can see more in it than we do. */
export function readGeneralNames(reader: DerReader): GeneralName[] {
  return members(reader, MAX_NAMES, 'alternative names').map((element) => {
    const name = readGeneralName(element)
    if (name.kind === 'ip' && name.bytes.length !== 4 && name.bytes.length !== 16)
      refuse('unreadable', 'a certificate cannot be read: an address of neither 4 nor 16 bytes')
    return name
  })
}

/** Reads one name. The length of an address is not checked, because in constraints a mask follows it. */
export function readGeneralName(element: Element): GeneralName {
  switch (element.tag) {
    case own(2):
      if (element.value.some((byte) => byte > 0x7f))
        refuse('unreadable', 'a certificate cannot be read: a host with letters beyond ASCII')
      return { kind: 'dns', value: String.fromCharCode(...element.value.subarray(0, 1000)) }
    case own(7):
      return { kind: 'ip', bytes: element.value }
    case ownWith(4): {
      const reader = inside(element)
      const name = readName(reader.next(TAG.sequence))
      reader.end()
      return { kind: 'directory', name }
    }
    // otherName, rfc822Name, x400Address, ediPartyName, uniformResourceIdentifier, registeredID
    case ownWith(0):
    case own(1):
    case ownWith(3):
    case ownWith(5):
    case own(6):
    case own(8):
      return { kind: 'other', number: element.tag & 0x1f }
    default:
      return refuse('unreadable', 'a certificate cannot be read: a name of an unknown kind')
  }
}
