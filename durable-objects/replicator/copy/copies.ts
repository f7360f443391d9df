import type { Tuple } from '../../../sources/postgres/index.ts'

/** How often a row is there, and what it holds when the read says so. */
export interface Counted {
  copies: number
  tuple: Tuple | null
}

/**
 * Rows of a table without a key, told apart by the hash of what they hold. One read holds all copies of the rows whose hash lies in [from, to), so
 * a row is there as often as it was read, and as transactions say that were delivered and not visible to the read. Keys are JSON arrays of
 * the hash. `have`: the keys of that range which we have. Null: a row is there of which neither says what it holds.
 */
export function countCopies(
  read: readonly { key: string; tuple: Tuple }[],
  have: readonly string[],
  touched: ReadonlyMap<string, number>,
  range: { from: string; to: string | null },
): Map<string, Counted> | null {
  const counted = new Map<string, Counted>(have.map((key) => [key, { copies: 0, tuple: null }]))
  const known = new Set(have)
  for (const { key, tuple } of read) counted.set(key, { copies: (counted.get(key)?.copies ?? 0) + 1, tuple })
  for (const [key, copies] of touched) {
    const hash = key.slice(2, -2)
    if (hash < range.from || (range.to !== null && hash >= range.to)) continue
    const before = counted.get(key)
    const now = (before?.copies ?? 0) + copies
    if (now > 0 && !before?.tuple && !known.has(key)) return null
    counted.set(key, { copies: now, tuple: before?.tuple ?? null })
  }
  return counted
}
