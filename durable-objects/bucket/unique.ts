import type { OpId } from '../../protocol/ops.ts'
import { eachRow, opIdAt } from '../../protocol/op-text.ts'
import type { Page } from './storage.ts'

/**
 * A random seed, so that nobody can choose rows with equal hashes, which would cost the reading that this saves. Made
 * late: workerd has no randomness before the first event (2026-11).
 */
let seeds: Uint32Array | null = null

/**
 * Returns whether all ops of the pages, up to `to`, are of different rows. Also returns false when there are more than
 * `most` ops and, very rarely, when two rows have the same hash. It compares 53 bits of a hash, because a map of keys
 * takes seven times as long (2026-11).
 */
export function isUnique(pages: Iterable<Page>, to: OpId, most: number): boolean {
  seeds ??= crypto.getRandomValues(new Uint32Array(2))
  const [seedA = 0, seedB = 0] = seeds
  let hashes = new Float64Array(1_024)
  let count = 0
  for (const { body, last } of pages) {
    eachRow(body, (key, at) => {
      if (last > to && opIdAt(body, at) > to) return true
      if (count === hashes.length) {
        const more = new Float64Array(count * 2)
        more.set(hashes)
        hashes = more
      }
      hashes[count++] = hashOf(key, seedA, seedB)
      return count <= most
    })
    if (count > most) return false
  }
  const sorted = hashes.subarray(0, count).sort()
  for (let i = 1; i < count; i++) if (sorted[i] === sorted[i - 1]) return false
  return true
}

function hashOf(key: string, a: number, b: number): number {
  for (let i = 0; i < key.length; i++) {
    const unit = key.charCodeAt(i)
    a = Math.imul(a ^ unit, 0x85ebca6b)
    a ^= a >>> 13
    b = Math.imul(b + unit, 0xc2b2ae35)
    b ^= b >>> 15
  }
  return (a >>> 0) * 2 ** 21 + (b >>> 11)
}
