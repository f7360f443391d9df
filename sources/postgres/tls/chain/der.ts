import { MAX_DER_DEPTH, MAX_OID_BYTES } from './limits.ts'
import { refuse } from './refusal.ts'

// A strict reader of DER (X.690): it accepts one way to write each value and refuses every other, because two readers
// that disagree about a certificate are a way around a check. It copies nothing, and reads each byte once for each
// level.

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bits: 0x03,
  octets: 0x04,
  null: 0x05,
  oid: 0x06,
  utf8: 0x0c,
  printable: 0x13,
  ia5: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const

/** The context-specific tags `[0]`, `[1]`, …: primitive, and (`ownWith`) constructed. */
export const own = (number: number): number => 0x80 | number
export const ownWith = (number: number): number => 0xa0 | number

export interface Element {
  tag: number
  /** The content. */
  value: Uint8Array
  /** Tag, length and content. */
  whole: Uint8Array
  /** The number of levels around it. */
  depth: number
}

const broken = (what: string): never => refuse('unreadable', `a certificate cannot be read: ${what}`)

/** Reads the consecutive elements in `bytes`. */
export class DerReader {
  readonly #bytes: Uint8Array
  readonly #depth: number
  #at = 0

  constructor(bytes: Uint8Array, depth = 0) {
    if (depth > MAX_DER_DEPTH) broken(`it is nested more than ${MAX_DER_DEPTH} levels deep`)
    this.#bytes = bytes
    this.#depth = depth
  }

  get done(): boolean {
    return this.#at === this.#bytes.length
  }

  /** The tag of the next element, or undefined at the end. */
  get nextTag(): number | undefined {
    return this.#bytes[this.#at]
  }

  /** Returns the next element, which must have this tag if one is passed. */
  next(tag?: number): Element {
    const start = this.#at
    const found = this.#byte()
    if ((found & 0x1f) === 0x1f) broken('a tag has more than one byte')
    if (tag !== undefined && found !== tag) broken(`tag ${hex(found)} where ${hex(tag)} belongs`)
    const length = this.#length()
    if (length > this.#bytes.length - this.#at) broken('it ends too early')
    const value = this.#bytes.subarray(this.#at, this.#at + length)
    this.#at += length
    return { tag: found, value, whole: this.#bytes.subarray(start, this.#at), depth: this.#depth }
  }

  /** Returns the next element if it has this tag. */
  optional(tag: number): Element | undefined {
    return this.nextTag === tag ? this.next(tag) : undefined
  }

  /** Returns a reader of the members of the next element. */
  enter(tag: number): DerReader {
    return inside(this.next(tag))
  }

  /** Throws when something follows. */
  end(): void {
    if (!this.done) broken('something follows where it should end')
  }

  #byte(): number {
    const byte = this.#bytes[this.#at++]
    return byte ?? broken('it ends too early')
  }

  #length(): number {
    const first = this.#byte()
    if (first < 0x80) return first
    const count = first & 0x7f
    if (count === 0 || count > 3) broken('a length of an unknown form')
    let length = 0
    for (let i = 0; i < count; i++) length = length * 256 + this.#byte()
    if (length < 0x80 || length < 256 ** (count - 1)) broken('a length is longer than necessary')
    return length
  }
}

/** Returns a reader of the content of an element, one level deeper. */
export function inside(element: Element): DerReader {
  return new DerReader(element.value, element.depth + 1)
}

/** Returns the members of a SEQUENCE OF or SET OF, at most `limit`. */
export function members(reader: DerReader, limit: number, what: string): Element[] {
  const found: Element[] = []
  while (!reader.done) {
    if (found.length === limit) refuse('too-large', `a certificate has more than ${limit} ${what}`)
    found.push(reader.next())
  }
  return found
}

export function expectTag(element: Element, tag: number): Element {
  if (element.tag !== tag) broken(`tag ${hex(element.tag)} where ${hex(tag)} belongs`)
  return element
}

export function readBoolean({ value }: Element): boolean {
  if (value.length !== 1 || (value[0] !== 0 && value[0] !== 0xff)) broken('a boolean of an unknown form')
  return value[0] === 0xff
}

/** Returns the bytes of a number in two's complement, which must have no superfluous bytes. */
export function readInteger({ value }: Element): Uint8Array {
  const [first, second] = value
  if (first === undefined) return broken('a number without digits')
  if (second !== undefined && ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80)))
    broken('a number is longer than necessary')
  return value
}

/** Returns a whole number from 0 to 2^31 - 1; larger ones count as the largest. */
export function readCount(element: Element): number {
  const bytes = readInteger(element)
  if ((bytes[0] ?? 0) >= 0x80) broken('a negative number where none is allowed')
  return bytes.length > 4 ? 0x7fffffff : bytes.reduce((sum, byte) => sum * 256 + byte, 0)
}

/** Returns the bytes of a BIT STRING and the number of unused bits at its end, which must be zero. */
export function readBits({ value }: Element): { bytes: Uint8Array; unused: number } {
  const unused = value[0] ?? broken('bits without their number')
  const bytes = value.subarray(1)
  const last = bytes.at(-1)
  if (unused > 7 || (last === undefined ? unused > 0 : (last & ((1 << unused) - 1)) !== 0))
    broken('bits of an unknown form')
  return { bytes, unused }
}

/** Returns an object identifier as `1.2.840.113549`, with arcs of any size. */
export function readOid({ value }: Element): string {
  if (value.length === 0 || value.length > MAX_OID_BYTES || (value.at(-1) ?? 0) >= 0x80)
    broken('an identifier of an unknown form')
  const arcs: bigint[] = []
  let arc = 0n
  let begins = true
  for (const byte of value) {
    if (begins && byte === 0x80) broken('an identifier is longer than necessary')
    arc = (arc << 7n) | BigInt(byte & 0x7f)
    begins = byte < 0x80
    if (begins) {
      arcs.push(arc)
      arc = 0n
    }
  }
  const first = arcs[0] ?? 0n
  const root = first < 80n ? first / 40n : 2n
  return [root, first - root * 40n, ...arcs.slice(1)].join('.')
}

/**
 * Returns the milliseconds since 1970 of a UTCTime or GeneralizedTime, in the only form that certificates may use: to
 * the second, in UTC.
 */
export function readTime({ tag, value }: Element): number {
  const text = String.fromCharCode(...value.subarray(0, 20))
  const form =
    tag === TAG.utcTime ? /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/ : /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/
  const parts = tag === TAG.utcTime || tag === TAG.generalizedTime ? form.exec(text) : null
  if (parts === null) return broken('a date of an unknown form')
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = parts.slice(1).map(Number)
  // RFC 5280: two digits mean 1950 to 2049.
  const full = tag === TAG.utcTime ? year + (year < 50 ? 2000 : 1900) : year
  const time = Date.UTC(full, month - 1, day, hour, minute, second)
  const written = new Date(time).toISOString().replaceAll(/\D/g, '').slice(0, 14)
  // Date turns the 31st of February into another day, and mangles years before 1000.
  if (written !== `${full}${text.slice(tag === TAG.utcTime ? 2 : 4, -1)}`) broken('a date that does not exist')
  return time
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}

const hex = (byte: number): string => `0x${byte.toString(16).padStart(2, '0')}`
