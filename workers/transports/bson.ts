import { writeOps } from './bson-ops.ts'

/**
 * Writes lines as BSON documents. The library does not do two things: an integer must be an Int32 or an Int64, never a
 * Double, which clients refuse for counts, priorities and indexes; and the ops of a `data` line are written directly
 * from their texts.
 */
export class BsonWriter {
  #bytes: Uint8Array
  #view: DataView
  #at = 0

  /** `bytes` is the buffer with which it begins. */
  constructor(bytes: Uint8Array<ArrayBuffer>) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** Returns what was written. The writer must not be used after this. */
  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#at)
  }

  /** Begins the outermost document. Returns the argument for `end`. */
  begin(): number {
    this.#reserve(4)
    const start = this.#at
    this.#at += 4
    return start
  }

  end(start: number): void {
    this.#reserve(1)
    this.#bytes[this.#at++] = 0
    this.#view.setInt32(start, this.#at - start, true)
  }

  document(name: string): number {
    this.#key(0x03, name)
    return this.begin()
  }

  array(name: string): number {
    this.#key(0x04, name)
    return this.begin()
  }

  /** Writes an array of ops from their JSON texts, joined by `,`. */
  ops(name: string, texts: Uint8Array): void {
    this.#key(0x04, name)
    this.#reserve(texts.length * 2 + 16)
    this.#at = writeOps(texts, this.#bytes, this.#at)
  }

  null(name: string): void {
    this.#key(0x0a, name)
  }

  boolean(name: string, value: boolean): void {
    this.#key(0x08, name)
    this.#reserve(1)
    this.#bytes[this.#at++] = value ? 1 : 0
  }

  /** Throws RangeError for a number that is not a safe integer. */
  integer(name: string, value: number): void {
    if (!Number.isSafeInteger(value)) throw new RangeError(`${name} is ${value}, which is not a safe integer`)
    const small = value === (value | 0)
    this.#key(small ? 0x10 : 0x12, name)
    this.#reserve(8)
    this.#view.setInt32(this.#at, value | 0, true)
    if (!small) this.#view.setInt32(this.#at + 4, Math.floor(value / 4_294_967_296), true)
    this.#at += small ? 4 : 8
  }

  string(name: string, value: string): void {
    this.#key(0x02, name)
    // A UTF-16 unit takes at most three bytes of UTF-8.
    this.#reserve(5 + value.length * 3)
    const start = this.#at
    this.#at += 4
    this.#text(value)
    this.#bytes[this.#at++] = 0
    this.#view.setInt32(start, this.#at - start - 4, true)
  }

  /** Writes any value that a line may contain. Undefined members are left out. */
  value(name: string, value: unknown): void {
    if (typeof value === 'string') this.string(name, value)
    else if (typeof value === 'number') this.integer(name, value)
    else if (typeof value === 'boolean') this.boolean(name, value)
    else if (value === null) this.null(name)
    else if (Array.isArray(value)) {
      const start = this.array(name)
      for (let i = 0; i < value.length; i++) this.value(String(i), value[i])
      this.end(start)
    } else if (typeof value === 'object') {
      const start = this.document(name)
      for (const [key, member] of Object.entries(value)) this.value(key, member)
      this.end(start)
    }
  }

  #key(type: number, name: string): void {
    this.#reserve(2 + name.length * 3)
    this.#bytes[this.#at++] = type
    this.#text(name)
    this.#bytes[this.#at++] = 0
  }

  /**
   * Writes a string for which there is room. Short ASCII strings, which nearly all are, are faster by hand than by a
   * call into the runtime.
   */
  #text(text: string): void {
    const bytes = this.#bytes
    let at = this.#at
    if (text.length <= SHORT) {
      for (let i = 0; i < text.length; i++) {
        const unit = text.charCodeAt(i)
        if (unit > 0x7f) return this.#encode(text)
        bytes[at++] = unit
      }
      this.#at = at
    } else this.#encode(text)
  }

  #encode(text: string): void {
    this.#at += encoder.encodeInto(text, this.#bytes.subarray(this.#at)).written
  }

  #reserve(count: number): void {
    if (this.#at + count <= this.#bytes.length) return
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#at + count))
    grown.set(this.#bytes.subarray(0, this.#at))
    this.#bytes = grown
    this.#view = new DataView(grown.buffer)
  }
}

/** UTF-16 units. */
const SHORT = 256
const encoder = new TextEncoder()
