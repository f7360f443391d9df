import type { RefusedTable } from '../../../sources/source.ts'

/** A table that cannot be followed, as it is stored. */
export type Refused = Pick<RefusedTable, 'table' | 'reason' | 'names'>

/**
 * The most bytes that all of them take when they are stored: one value may have 2 MB. Those beyond are only reported as
 * problems.
 */
export const MAX_REFUSED_BYTES = 500_000
/** The most UTF-16 units of one reason, which may name many columns. */
export const MAX_REASON_LENGTH = 1_000

/** Returns what is stored of the tables that a session could not follow: the first of them. */
export function storable(found: readonly RefusedTable[]): Refused[] {
  const kept: Refused[] = []
  let bytes = 0
  for (const { table, reason, names } of found) {
    const each = { table, reason: reason.slice(0, MAX_REASON_LENGTH), names }
    bytes += Buffer.byteLength(JSON.stringify(each))
    if (bytes > MAX_REFUSED_BYTES) break
    kept.push(each)
  }
  return kept
}
