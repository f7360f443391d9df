import type { ResultColumn } from '../sqlite/sqlite.ts'
import { decode, type ColumnKind, type TypedSchema } from '../schema.ts'
import type { SqlValue } from '../types.ts'

/**
 * Makes objects of rows. Booleans, JSON and 64-bit integers are recognised by the column of a table that is shown; what
 * is computed comes as SQLite gives it.
 */
export function rowMaker(
  schema: TypedSchema,
  columns: readonly ResultColumn[],
): (row: readonly SqlValue[]) => Record<string, unknown> {
  const kinds = columns.map(({ table, column }) => kindOf(schema, table, column))
  return (row) => {
    const made: Record<string, unknown> = {}
    for (const [at, { name }] of columns.entries()) {
      const kind = kinds[at]
      const value = row[at] ?? null
      made[name] = kind ? decode(kind, value) : value
    }
    return made
  }
}

function kindOf({ tables }: TypedSchema, table: string | null, column: string | null): ColumnKind | undefined {
  if (table === null || column === null || !Object.hasOwn(tables, table)) return undefined
  const columns = tables[table]?.columns
  return columns && Object.hasOwn(columns, column) ? columns[column]?.kind : undefined
}
