import { Buffer } from 'node:buffer'
import { RockpoolError } from '../../../protocol/errors.ts'
import { LARGE, LargeValue } from '../copy/large-value.ts'
import type { Lsn, Tuple, TupleValue } from '../types.ts'

/** Microseconds from 1970-01-01 to 2000-01-01, where Postgres's clock begins. */
const EPOCH_MICROSECONDS = 946_684_800_000_000n
/** The number of bytes of a message that an error shows. */
const SHOWN_BYTES = 64
/**
 * The longest string that is built character by character: a call into the runtime costs as much as about six
 * characters.
 */
const SHORT = 6

const NULL = 0x6e
const UNCHANGED = 0x75
const TEXT = 0x74

/** Reads the fields of one message. Reading beyond the end throws ROCKPOOL_PGOUTPUT with the bytes. */
export class PgoutputReader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  fail(problem: string): never {
    const bytes = this.#bytes
    const hex = bytes.toString('hex', 0, SHOWN_BYTES).replace(/..(?=.)/g, '$& ')
    const more = bytes.length > SHOWN_BYTES ? ' …' : ''
    throw new RockpoolError(
      'ROCKPOOL_PGOUTPUT',
      `${problem}: ${bytes.length} bytes, read up to ${this.#at}: ${hex}${more}`,
    )
  }

  #advance(size: number): number {
    const from = this.#at
    if (from + size > this.#bytes.length) this.fail('a pgoutput message is shorter than it says')
    this.#at = from + size
    return from
  }

  /** Throws when the message is longer than its fields, because then it has fields that we do not know. */
  end(): void {
    if (this.#at !== this.#bytes.length) this.fail('a pgoutput message is longer than it says')
  }

  uint8(): number {
    const from = this.#advance(1)
    return this.#bytes[from] ?? 0
  }

  /** Reads a byte that says what follows. */
  tag(): string {
    return String.fromCharCode(this.uint8())
  }

  /** Reads a byte of which only the bits in `known` may be set. */
  flags(known: number): number {
    const flags = this.uint8()
    if ((flags & ~known) !== 0) this.fail(`pgoutput sent the unknown flags ${flags}`)
    return flags
  }

  uint16(): number {
    return this.#bytes.readUInt16BE(this.#advance(2))
  }

  uint32(): number {
    return this.#bytes.readUInt32BE(this.#advance(4))
  }

  lsn(): Lsn {
    return this.#bytes.readBigUInt64BE(this.#advance(8))
  }

  /** Reads a time as ISO 8601 with microseconds, which may be the only difference between two similar transactions. */
  time(): string {
    const micros = this.#bytes.readBigInt64BE(this.#advance(8)) + EPOCH_MICROSECONDS
    const millis = Number(micros / 1000n)
    if (!(Math.abs(millis) <= 8.64e15)) this.fail('pgoutput sent a time out of range')
    return `${new Date(millis).toISOString().slice(0, -1)}${(micros % 1000n).toString().padStart(3, '0')}Z`
  }

  /** Reads bytes as a copy, so that keeping them does not keep a whole network buffer. */
  bytes(): Uint8Array {
    const length = this.uint32()
    const from = this.#advance(length)
    return new Uint8Array(this.#bytes.subarray(from, from + length))
  }

  /** Reads a string that ends with a zero byte. */
  name(): string {
    const end = this.#bytes.indexOf(0, this.#at)
    if (end < 0) this.fail('a pgoutput message is shorter than it says')
    const text = this.#bytes.toString('utf8', this.#at, end)
    this.#at = end + 1
    return text
  }

  list<T>(count: number, bytesEach: number, read: () => T): T[] {
    if (count * bytesEach > this.#bytes.length - this.#at) this.fail('a pgoutput message is shorter than it says')
    return Array.from({ length: count }, read)
  }

  tuple(): Tuple {
    const length = this.uint16()
    const values: TupleValue[] = new Array<TupleValue>(length)
    for (let i = 0; i < length; i++) {
      const kind = this.uint8()
      if (kind === TEXT) values[i] = this.#text(this.uint32())
      else if (kind === NULL) values[i] = null
      else if (kind === UNCHANGED) values[i] = undefined
      else if (kind === LARGE) values[i] = new LargeValue(this.uint32())
      else this.fail(`pgoutput sent a value in the unknown form ${kind}`)
    }
    return values
  }

  #text(length: number): string {
    const from = this.#advance(length)
    const end = from + length
    if (length <= SHORT) {
      let text = ''
      let at = from
      for (; at < end; at++) {
        const unit = this.#bytes[at] ?? 0
        if (unit > 0x7f) break
        text += String.fromCharCode(unit)
      }
      if (at === end) return text
    }
    return this.#bytes.toString('utf8', from, end)
  }
}
