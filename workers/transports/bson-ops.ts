/**
 * Writes ops as BSON directly from the JSON texts in which they are stored: bytes in, bytes out, without objects or
 * strings in between. Parsing and serializing takes three times as long, and this is most of the work in the first sync
 * of a client that uses BSON.
 */

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COLON = 0x3a
const COMMA = 0x2c
const OPEN = 0x7b
const CLOSE = 0x7d
const MINUS = 0x2d
const NULL = 0x6e
const ZERO = 0x30
const NINE = 0x39

/** What a character after a backslash stands for, except `u`. */
const ESCAPES = new Uint8Array(256)
for (const [i, character] of [...'"\\/bfnrt'].entries())
  ESCAPES[character.charCodeAt(0)] = '"\\/\b\f\n\r\t'.charCodeAt(i)

/**
 * Writes `{"0": op, "1": op, …}`, the BSON form of an array, at `at`, and returns the position after it. `ops` are op
 * texts joined by `,`, in UTF-8: flat objects of strings, whole numbers and null. Throws SyntaxError for anything else.
 * `out` must have room for twice the length of `ops` and 16 bytes.
 */
export function writeOps(ops: Uint8Array, out: Uint8Array, at: number): number {
  return new Transcoder(ops, out, at).array()
}

class Transcoder {
  readonly #ops: Uint8Array
  readonly #out: Uint8Array
  /** The positions in the input and in the output. */
  #from = 0
  #to: number

  constructor(ops: Uint8Array, out: Uint8Array, at: number) {
    this.#ops = ops
    this.#out = out
    this.#to = at
  }

  array(): number {
    const start = this.#begin()
    for (let index = 0; this.#from < this.#ops.length; index++) {
      if (index > 0) this.#expect(COMMA)
      this.#out[this.#to++] = 0x03
      for (const digit of String(index)) this.#out[this.#to++] = digit.charCodeAt(0)
      this.#out[this.#to++] = 0
      this.#object()
    }
    this.#end(start)
    return this.#to
  }

  #object(): void {
    const start = this.#begin()
    this.#expect(OPEN)
    for (;;) {
      // BSON writes the type before the name, but it is known only after the name.
      const type = this.#to++
      this.#string()
      this.#out[this.#to++] = 0
      this.#expect(COLON)
      this.#out[type] = this.#value()
      const next = this.#ops[this.#from++]
      if (next === CLOSE) break
      if (next !== COMMA) throw unexpected(this.#from - 1)
    }
    this.#end(start)
  }

  /** Writes a value and returns its type. */
  #value(): number {
    const first = this.#ops[this.#from] ?? 0
    if (first === QUOTE) {
      const start = this.#to
      this.#to += 4
      this.#string()
      this.#out[this.#to++] = 0
      int32(this.#out, start, this.#to - start - 4)
      return 0x02
    }
    if (first === NULL) {
      this.#from += 4
      return 0x0a
    }
    return this.#integer()
  }

  #integer(): number {
    const ops = this.#ops
    const negative = ops[this.#from] === MINUS
    if (negative) this.#from++
    const start = this.#from
    let value = 0
    for (let digit = ops[start] ?? 0; digit >= ZERO && digit <= NINE; digit = ops[++this.#from] ?? 0)
      value = value * 10 + digit - ZERO
    if (this.#from === start || value > Number.MAX_SAFE_INTEGER) throw unexpected(start)
    if (negative) value = -value
    int32(this.#out, this.#to, value | 0)
    this.#to += 4
    if (value === (value | 0)) return 0x10
    int32(this.#out, this.#to, Math.floor(value / 4_294_967_296))
    this.#to += 4
    return 0x12
  }

  /** Writes the characters between two quotes. */
  #string(): void {
    this.#expect(QUOTE)
    const ops = this.#ops
    const out = this.#out
    let from = this.#from
    let to = this.#to
    const { length } = ops
    for (;;) {
      if (from >= length) throw unexpected(from)
      const byte = ops[from++] as number
      if (byte === QUOTE) break
      if (byte !== BACKSLASH) {
        out[to++] = byte
        continue
      }
      const plain = ESCAPES[ops[from] ?? 0] ?? 0
      if (plain !== 0) {
        out[to++] = plain
        from++
        continue
      }
      let code = this.#hex(from)
      from += 5
      if (code >= 0xd800 && code <= 0xdfff) {
        const low = code <= 0xdbff && ops[from] === BACKSLASH ? this.#hex(from + 1) : 0
        // A lone surrogate is not a character; every UTF-8 decoder replaces it.
        if (low >= 0xdc00 && low <= 0xdfff) {
          code = 0x10000 + (code - 0xd800) * 0x400 + (low - 0xdc00)
          from += 6
        } else code = 0xfffd
      }
      to = utf8(out, to, code)
    }
    this.#from = from
    this.#to = to
  }

  /** Returns the code unit of `uXXXX` at a position, or 0 when there is something else. */
  #hex(at: number): number {
    const text = String.fromCharCode(...this.#ops.subarray(at, at + 5))
    return /^u[0-9a-fA-F]{4}$/.test(text) ? parseInt(text.slice(1), 16) : 0
  }

  #begin(): number {
    this.#to += 4
    return this.#to - 4
  }

  #end(start: number): void {
    this.#out[this.#to++] = 0
    int32(this.#out, start, this.#to - start)
  }

  #expect(byte: number): void {
    if (this.#ops[this.#from++] !== byte) throw unexpected(this.#from - 1)
  }
}

function int32(out: Uint8Array, at: number, value: number): void {
  out[at] = value
  out[at + 1] = value >> 8
  out[at + 2] = value >> 16
  out[at + 3] = value >> 24
}

function utf8(out: Uint8Array, at: number, code: number): number {
  if (code < 0x80) out[at++] = code
  else if (code < 0x800) {
    out[at++] = 0xc0 | (code >> 6)
    out[at++] = 0x80 | (code & 63)
  } else {
    if (code < 0x10000) out[at++] = 0xe0 | (code >> 12)
    else {
      out[at++] = 0xf0 | (code >> 18)
      out[at++] = 0x80 | ((code >> 12) & 63)
    }
    out[at++] = 0x80 | ((code >> 6) & 63)
    out[at++] = 0x80 | (code & 63)
  }
  return at
}

const unexpected = (at: number) => new SyntaxError(`the text of an op is not valid at byte ${at}`)
