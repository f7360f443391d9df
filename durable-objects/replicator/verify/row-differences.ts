import type { DifferenceCode } from '../../../protocol/verification.ts'
import { sameContent, type Output, type RowImage, type RowState } from '../store/row-state.ts'

export interface RowDifference {
  code: DifferenceCode
  /** The number of the bucket, or null when the difference is in none. */
  bucket: number | null
  reason: string
}

/** Returns how what row state says of a row differs from what it should say. Each output that differs is one op. */
export function rowDifferences(known: RowState | null, wanted: RowState | null): RowDifference[] {
  const differences: RowDifference[] = []
  const add = (code: DifferenceCode, bucket: number | null, reason: string) =>
    differences.push({ code, bucket, reason })
  const had = new Map((known?.outputs ?? []).map((output) => [textOf(output), output]))
  const wants = new Map((wanted?.outputs ?? []).map((output) => [textOf(output), output]))
  for (const [text, output] of wants) {
    const { bucket } = output
    const before = had.get(text)
    if (!before) add('row-missing', bucket, 'Postgres has the row, row state does not know it')
    else if (!sameContent(before, output))
      add('row-stale', bucket, 'row state knows another version of the row than Postgres has')
  }
  for (const [text, { bucket }] of had) {
    if (!wants.has(text)) add('row-extra', bucket, 'row state knows the row, Postgres does not have it')
  }
  if (differences.length > 0 || known === null || wanted === null) return differences
  const [copies, there] = [known.copies ?? 1, wanted.copies ?? 1]
  if (copies !== there) add('row-stale', null, `row state knows ${copies} equal rows, Postgres has ${there}`)
  else if (known.image !== null && !sameImage(known.image, wanted.image))
    add('row-stale', null, 'row state keeps other texts of large columns')
  return differences
}

const textOf = ({ bucket, type, id }: Output) => JSON.stringify([bucket, type, id])

/** Compares images, whose columns may be in different orders. */
function sameImage(a: RowImage, b: RowImage | null): boolean {
  return (
    b !== null &&
    Object.keys(a).length === Object.keys(b).length &&
    Object.entries(a).every(([name, text]) => b[name] === text)
  )
}
