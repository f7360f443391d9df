import type { TableName } from '../../protocol/tables.ts'
import type { SourceRow } from '../../protocol/values.ts'
import type { EvaluatedRow, RowProgram } from '../types.ts'

/**
 * Evaluates a row under all names of its table. The name of a bucket contains its definition, so equal outputs are one.
 */
export function evaluateNames(program: RowProgram, names: readonly TableName[], row: SourceRow): EvaluatedRow {
  const results = names.filter((name) => program.reads(name)).map((name) => program.evaluateRow(name, row))
  const [first, ...others] = results
  if (!first) return { rows: [], errors: [] }
  if (others.length === 0) return first
  const rows = new Map(
    results.flatMap((result) =>
      result.rows.map((each) => [JSON.stringify([each.bucket, each.objectType, each.objectId]), each]),
    ),
  )
  const events = results.flatMap((result) => result.events ?? [])
  const errors = results.flatMap((result) => result.errors)
  return { rows: [...rows.values()], errors, ...(events.length === 0 ? {} : { events }) }
}
