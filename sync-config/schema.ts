import type { SelectFromStatement } from 'pgsql-ast-parser'
import type { SourceTable } from './legacy/table.ts'
import type { Sql } from './text/sql.ts'

/** Tables of the source for warnings about names that do not exist. */
export interface SourceSchema {
  tables: { schema: string; name: string; columns: string[] }[]
}

/** Checks names against the source's tables. Findings are always warnings: a table may be made later. */
export interface SchemaCheck {
  checkQuery(sql: Sql, table: SourceTable, select: SelectFromStatement): void
}
