import type { SqlValue } from '../../types.ts'

/**
 * 53 bits of a value, as an integer that JavaScript and SQLite hold exactly. By it a link proves that it means this
 * row, and a subkey is told from another one. Nothing secret depends on it. Multiplications as in MurmurHash3's
 * finaliser (public domain).
 */
export function hash(value: SqlValue): number {
  const text = typeof value === 'string' ? value : String(value)
  let high = 0x9e3779b1
  let low = 0x85ebca6b
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at)
    high = Math.imul(high ^ unit, 0xcc9e2d51)
    low = Math.imul(low ^ unit, 0x1b873593)
    high ^= low >>> 15
  }
  high = Math.imul(high ^ (high >>> 16), 0x85ebca6b) ^ Math.imul(low ^ (low >>> 13), 0xc2b2ae35)
  low = Math.imul(low ^ (low >>> 16), 0x85ebca6b) ^ Math.imul(high ^ (high >>> 13), 0xc2b2ae35)
  return (high & 0x1fffff) * 2 ** 32 + (low >>> 0)
}
