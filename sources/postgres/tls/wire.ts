import { Alert, violation } from './alerts.ts'

// RFC 8446 section 3, RFC 5246 section 4: the presentation language: numbers in network order, and vectors preceded by
// their length.

/** Bytes outside of shared memory, as WebCrypto requires. */
export type Bytes = Uint8Array<ArrayBuffer>

export const concat = (...parts: ArrayLike<number>[]): Bytes => join(parts)

/** The same for any number of parts: a call takes about 100,000 arguments at most. */
export function join(parts: readonly ArrayLike<number>[]): Bytes {
  const out = new Uint8Array(parts.reduce((length, part) => length + part.length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

export const u16 = (n: number) => [n >>> 8, n & 0xff]
export const u24 = (n: number) => [n >>> 16, (n >>> 8) & 0xff, n & 0xff]

/** Vectors with a length of one, two or three bytes. */
export const vector8 = (...parts: ArrayLike<number>[]) => withLength((n) => [n], parts)
export const vector16 = (...parts: ArrayLike<number>[]) => withLength(u16, parts)
export const vector24 = (...parts: ArrayLike<number>[]) => withLength(u24, parts)

function withLength(length: (n: number) => number[], parts: ArrayLike<number>[]): Bytes {
  const body = concat(...parts)
  return concat(length(body.length), body)
}

/** Compares bytes that are not secret: it stops at the first difference. */
export function equal(a: Uint8Array, b: ArrayLike<number>): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}

/** Returns what `read` returns. Throws when it does not read all of `bytes`. */
export function whole<T>(bytes: Bytes, read: (reader: Reader) => T): T {
  const reader = new Reader(bytes)
  const found = read(reader)
  reader.end()
  return found
}

/** Reads what the server sent. Throws TlsError (decode_error) where it is malformed. */
export class Reader {
  readonly #bytes: Bytes
  #at = 0

  constructor(bytes: Bytes) {
    this.#bytes = bytes
  }

  get done(): boolean {
    return this.#at === this.#bytes.length
  }

  bytes(length: number): Bytes {
    const end = this.#at + length
    if (end > this.#bytes.length) throw violation(Alert.decodeError, 'a message ends too early')
    const found = this.#bytes.subarray(this.#at, end)
    this.#at = end
    return found
  }

  number(width: 1 | 2 | 3): number {
    return this.bytes(width).reduce((sum, byte) => sum * 256 + byte, 0)
  }

  /** A vector with a length of `width` bytes. */
  vector(width: 1 | 2 | 3): Bytes {
    return this.bytes(this.number(width))
  }

  end(): void {
    if (!this.done) throw violation(Alert.decodeError, 'a message is longer than its content')
  }
}
