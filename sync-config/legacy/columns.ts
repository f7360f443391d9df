import type { SelectedColumn } from 'pgsql-ast-parser'
import type { ExpressionBuilder } from '../expressions/build.ts'
import type { Column } from '../plan/plan.ts'
import { warnLowerCase } from './scope.ts'

/** Name of an output column, or null with an error. */
export function columnName(builder: ExpressionBuilder, column: SelectedColumn): string | null {
  if (column.alias) return column.alias.name
  if (column.expr.type === 'ref' && column.expr.name !== '*') return column.expr.name
  builder.sql.error('alias-required', 'Give this expression a name: … AS name.', column.expr)
  return null
}

/** The SELECT list of data queries, streams of edition 2 and events. `*` hides columns that begin with `_` and overrides nothing. */
export function dataColumns(
  builder: ExpressionBuilder,
  columns: readonly SelectedColumn[] | null | undefined,
  tableName: string,
  idRequired: boolean,
): Column[] {
  const out: Column[] = []
  let all = false
  for (const column of columns ?? []) {
    const { expr } = column
    if (expr.type === 'ref' && expr.name === '*') {
      if (expr.table && expr.table.name !== tableName)
        builder.sql.error('unknown-reference', `'${expr.table.name}' is not the table of this query.`, expr)
      all = true
      out.push({ all: { hidden: false, fill: true } })
      continue
    }
    const name = columnName(builder, column)
    if (column.alias) warnLowerCase(builder.sql, column.alias)
    const value = builder.build(expr)
    if (name !== null && value) out.push({ name, expr: value })
  }
  const named = (columns ?? []).some((column) => (column.alias?.name ?? (column.expr.type === 'ref' ? column.expr.name : '')) === 'id')
  if (idRequired && !all && !named) {
    builder.sql.error('id-missing', 'The query must return a column named id: add it, or `… AS id`.', columns?.[0])
  }
  return out
}
