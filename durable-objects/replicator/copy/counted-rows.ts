import type { KeyRange, ReadRow } from '../../../sources/source.ts'

/** How many equal rows there are, and the row itself when it was read. */
export interface Counted {
  copies: number
  read: ReadRow | null
}

/**
 * Counts rows of a counted table by key. One read holds all copies of the rows whose keys lie in the range. To these
 * are added what transactions added or removed that were delivered but not visible to the read. `have` are the keys in
 * that range that row state has. Returns null when a row exists of which neither the read nor row state says what it
 * holds.
 */
export function countCopies(
  read: readonly { key: string; row: ReadRow }[],
  have: readonly string[],
  touched: ReadonlyMap<string, number>,
  range: KeyRange,
): Map<string, Counted> | null {
  const counted = new Map<string, Counted>(have.map((key) => [key, { copies: 0, read: null }]))
  const known = new Set(have)
  for (const { key, row } of read) counted.set(key, { copies: (counted.get(key)?.copies ?? 0) + 1, read: row })
  for (const [key, copies] of touched) {
    if (!isWithin(key, range)) continue
    const before = counted.get(key)
    const now = (before?.copies ?? 0) + copies
    if (now > 0 && !before?.read && !known.has(key)) return null
    counted.set(key, { copies: now, read: before?.read ?? null })
  }
  return counted
}

export const isWithin = (key: string, { from, to }: KeyRange): boolean => key >= from && (to === null || key < to)
