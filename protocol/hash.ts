/**
 * Returns a deterministic 64-bit hash of a string as 16 hexadecimal digits. It is not cryptographic: a collision is
 * found in a second, so it must not decide about access or content. It exists for what older versions stored and send.
 * It has two 32-bit lanes in the manner of cyrb53 with the finalizer of MurmurHash3. Plain 32-bit arithmetic gives the
 * same result everywhere.
 */
export function hash64(text: string): string {
  let a = 0xdeadbeef
  let b = 0x41c6ce57
  const { length } = text
  for (let i = 0; i < length; i++) {
    const unit = text.charCodeAt(i)
    a = Math.imul(a ^ unit, 2654435761)
    b = Math.imul(b ^ unit, 1597334677)
  }
  a = mix(a ^ (b >>> 13))
  b = mix(b ^ Math.imul(a, 0x9e3779b1))
  return hex(a) + hex(b)
}

/** The two digits of each byte. `toString(16)` of a number above 2^31 would take longer than the rest of the hash. */
const BYTES = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))

const byte = (n: number): string => BYTES[n & 255] ?? ''
const hex = (n: number): string => byte(n >>> 24) + byte(n >>> 16) + byte(n >>> 8) + byte(n)

function mix(h: number): number {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return h ^ (h >>> 16)
}
