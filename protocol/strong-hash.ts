import { createHash } from 'node:crypto'

// SHA-256 of strings as UTF-8. For a string of 100 characters in workerd, node:crypto takes 3.7 µs (2026-11: each of
// its hashes is also a stream) and this code 1.4 µs, and each copied row needs two hashes. From a few hundred bytes on,
// node:crypto is faster. A test compares the results of the two.

/** UTF-16 units up to which this code hashes; node:crypto hashes longer strings. */
const SHORT = 512

/** The first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
const ROOTS = Int32Array.from(primes(64), (prime) => fraction(Math.cbrt(prime)))
/** The same for the square roots of the first eight primes. */
const START = Int32Array.from(primes(8), (prime) => fraction(Math.sqrt(prime)))

const words = new Int32Array(64)
const state = new Int32Array(8)
/** Holds the longest string at three bytes a character, plus the padding. */
const bytes = new Uint8Array(SHORT * 3 + 128)
const encoder = new TextEncoder()

/** Returns 132 bits of a SHA-256 as 22 characters of base64url. */
export function strongHash(text: string): string {
  if (text.length > SHORT) return createHash('sha256').update(text).digest('base64url').slice(0, 22)
  digest(text)
  const a = at(0)
  const b = at(1)
  const c = at(2)
  const d = at(3)
  const e = at(4)
  return (
    two(a >>> 20) +
    two(a >>> 8) +
    two((a << 4) | (b >>> 28)) +
    two(b >>> 16) +
    two(b >>> 4) +
    two((b << 8) | (c >>> 24)) +
    two(c >>> 12) +
    two(c) +
    two(d >>> 20) +
    two(d >>> 8) +
    two((d << 4) | (e >>> 28))
  )
}

/** Returns the first 128 bits of a SHA-256 as four numbers below 2^32. */
export function hashWords(text: string): [number, number, number, number] {
  if (text.length > SHORT) {
    const sum = createHash('sha256').update(text).digest()
    return [sum.readUInt32BE(0), sum.readUInt32BE(4), sum.readUInt32BE(8), sum.readUInt32BE(12)]
  }
  digest(text)
  return [at(0) >>> 0, at(1) >>> 0, at(2) >>> 0, at(3) >>> 0]
}

/** Leaves the hash in `state`. */
function digest(text: string): void {
  let length = 0
  for (; length < text.length; length++) {
    const unit = text.charCodeAt(length)
    if (unit > 127) break
    bytes[length] = unit
  }
  if (length < text.length) length = encoder.encodeInto(text, bytes).written
  const bits = length * 8
  bytes[length++] = 0x80
  while (length % 64 !== 56) bytes[length++] = 0
  bytes.fill(0, length, length + 4)
  length += 4
  for (let shift = 24; shift >= 0; shift -= 8) bytes[length++] = bits >>> shift
  state.set(START)
  for (let from = 0; from < length; from += 64) block(from)
}

function block(from: number): void {
  for (let i = 0, n = from; i < 16; i++, n += 4) {
    words[i] = ((bytes[n] ?? 0) << 24) | ((bytes[n + 1] ?? 0) << 16) | ((bytes[n + 2] ?? 0) << 8) | (bytes[n + 3] ?? 0)
  }
  for (let i = 16; i < 64; i++) {
    const x = words[i - 15] ?? 0
    const y = words[i - 2] ?? 0
    const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3)
    const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10)
    words[i] = (words[i - 16] ?? 0) + s0 + (words[i - 7] ?? 0) + s1
  }
  let a = at(0)
  let b = at(1)
  let c = at(2)
  let d = at(3)
  let e = at(4)
  let f = at(5)
  let g = at(6)
  let h = at(7)
  for (let i = 0; i < 64; i++) {
    const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7))
    const t1 = (h + s1 + ((e & f) ^ (~e & g)) + (ROOTS[i] ?? 0) + (words[i] ?? 0)) | 0
    const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10))
    const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0
    h = g
    g = f
    f = e
    e = (d + t1) | 0
    d = c
    c = b
    b = a
    a = (t1 + t2) | 0
  }
  add(0, a)
  add(1, b)
  add(2, c)
  add(3, d)
  add(4, e)
  add(5, f)
  add(6, g)
  add(7, h)
}

/** Reads one word. Destructuring would go through the array's iterator, which takes longer than the hash. */
const at = (i: number): number => state[i] ?? 0

function add(i: number, word: number): void {
  state[i] = at(i) + word
}

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
const PAIRS = Array.from({ length: 4096 }, (_, i) => `${LETTERS[i >>> 6]}${LETTERS[i & 63]}`)

/** Returns two letters for twelve bits. */
const two = (bits: number): string => PAIRS[bits & 4095] ?? ''

function primes(count: number): number[] {
  const found: number[] = []
  for (let n = 2; found.length < count; n++) if (found.every((prime) => n % prime !== 0)) found.push(n)
  return found
}

function fraction(root: number): number {
  return ((root - Math.floor(root)) * 2 ** 32) | 0
}
