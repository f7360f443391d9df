/**
 * A deterministic 64-bit hash of a text as 16 hexadecimal digits: names buckets in notices, makes subkeys. Not cryptographic.
 * Two 32-bit lanes in the manner of cyrb53 with the finalizer of MurmurHash3; plain 32-bit arithmetic, so the same everywhere.
 */
export function hash64(text: string): string {
  let a = 0xdeadbeef
  let b = 0x41c6ce57
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    a = Math.imul(a ^ unit, 2654435761)
    b = Math.imul(b ^ unit, 1597334677)
  }
  a = mix(a ^ (b >>> 13))
  b = mix(b ^ Math.imul(a, 0x9e3779b1))
  return (a >>> 0).toString(16).padStart(8, '0') + (b >>> 0).toString(16).padStart(8, '0')
}

function mix(h: number): number {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return h ^ (h >>> 16)
}
