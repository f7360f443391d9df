import { equalSums, noRows, subpart, type RowsSum } from '../../../protocol/digest.ts'
import type { DifferenceCode } from '../../../protocol/verification.ts'
import type { RowRef } from '../store/row-state.ts'
import type { ExpectedRow, Unit } from './expectation.ts'

/** Rows of a unit that are compared one by one. */
export const LIST_ROWS = 2_000
/** Into so many parts a larger unit is divided. */
export const SPLIT = 64
/** No smaller parts than these: hashes have 32 bits. */
const MAX_PARTS = 2 ** 24

/** A unit that is looked at more closely, and about how many rows it has. */
export interface Closer {
  unit: Unit
  rows: number
}

/** Where the sums of a unit differ. */
export function closer(unit: Unit, expected: readonly RowsSum[], found: readonly RowsSum[]): Closer[] {
  return expected.flatMap((sum, sub) => {
    const other = found[sub] ?? noRows()
    if (equalSums(sum, other)) return []
    const part = subpart(unit, unit.split, sub)
    const rows = Math.max(sum.rows, other.rows)
    const list = rows <= LIST_ROWS || part.parts >= MAX_PARTS
    return [{ unit: { ...unit, ...part, split: list ? 1 : SPLIT, list }, rows }]
  })
}

export interface OpDifference {
  code: DifferenceCode
  /** See `rowKey`. */
  key: string
  /** The source row; null when row state knows of none. */
  ref: RowRef | null
  /** Of what the bucket holds; null when it lacks the row. */
  hash: string | null
  reason: string
}

/** Hashes of a row that a bucket holds. `weak`: for comparison with those that an older version stored, of rows that were not read since. */
export interface FoundContent {
  hash: string
  weak?: string
}

/** How the rows that a bucket holds differ from those that row state says are in it. */
export function opDifferences(expected: ReadonlyMap<string, ExpectedRow>, found: ReadonlyMap<string, FoundContent>): OpDifference[] {
  const differences: OpDifference[] = []
  for (const [key, { hash, ref }] of expected) {
    const content = found.get(key)
    const there = content?.hash ?? null
    if (there === null) differences.push({ code: 'op-missing', key, ref, hash: null, reason: 'the bucket lacks the row' })
    else if (there !== hash && content?.weak !== hash) {
      differences.push({
        code: 'op-stale',
        key,
        ref,
        hash: there,
        reason: 'the bucket holds another version of the row than row state says',
      })
    }
  }
  for (const [key, { hash }] of found) {
    if (expected.has(key)) continue
    differences.push({ code: 'op-extra', key, ref: null, hash, reason: 'the bucket holds a row of which row state knows nothing' })
  }
  return differences
}
