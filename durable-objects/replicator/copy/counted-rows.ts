import type { KeyRange, ReadRow } from '../../../sources/source.ts'

/** How often a row is there, and what it holds when the read says so. */
export interface Counted {
  copies: number
  read: ReadRow | null
}

/**
 * Rows of a counted table. One read holds all copies of the rows whose keys lie in the range, so a row is there as often as it was read, and as transactions
 * say that were delivered and not visible to the read. `have`: the keys of that range which we have. Null: a row is there of which neither says what it holds.
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
