import { equalSums, noRows, subpart, type RowsSum } from '../../../protocol/digest.ts'
import type { DifferenceCode } from '../../../protocol/verification.ts'
import type { RowRef } from '../store/row-state.ts'
import type { BucketRange, ExpectedRow } from './expectation.ts'

/** A range with at most this many rows is compared row by row. */
export const LIST_ROWS = 2_000
/** The number of parts into which a larger range is split. */
export const SPLIT = 64
/** A range is not split further: hashes have 32 bits. */
const MAX_PARTS = 2 ** 24

/** A range that is compared more closely, because its sums differ. */
export interface DrillDown {
  range: BucketRange
  /** About how many rows it has. */
  rows: number
}

/** Returns the parts of a range whose sums differ. */
export function drillDown(range: BucketRange, expected: readonly RowsSum[], found: readonly RowsSum[]): DrillDown[] {
  return expected.flatMap((sum, sub) => {
    const other = found[sub] ?? noRows()
    if (equalSums(sum, other)) return []
    const part = subpart(range, range.split, sub)
    const rows = Math.max(sum.rows, other.rows)
    const list = rows <= LIST_ROWS || part.parts >= MAX_PARTS
    return [{ range: { ...range, ...part, split: list ? 1 : SPLIT, list }, rows }]
  })
}

export interface OpDifference {
  code: DifferenceCode
  /** See `rowKey`. */
  key: string
  /** The row of the source, or null when row state knows of none. */
  ref: RowRef | null
  /** The hash of what the bucket holds, or null when it lacks the row. */
  hash: string | null
  reason: string
}

/** The hashes of a row that a bucket holds. */
export interface HeldContent {
  hash: string
  /** For rows whose hash an older version stored and that were not read since. */
  weak?: string
}

/** Returns how the rows that a bucket holds differ from those that row state says are in it. */
export function opDifferences(
  expected: ReadonlyMap<string, ExpectedRow>,
  found: ReadonlyMap<string, HeldContent>,
): OpDifference[] {
  const differences: OpDifference[] = []
  for (const [key, { hash, ref }] of expected) {
    const content = found.get(key)
    const there = content?.hash ?? null
    if (there === null)
      differences.push({ code: 'op-missing', key, ref, hash: null, reason: 'the bucket lacks the row' })
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
    differences.push({
      code: 'op-extra',
      key,
      ref: null,
      hash,
      reason: 'the bucket holds a row of which row state knows nothing',
    })
  }
  return differences
}
