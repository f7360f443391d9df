import type { SelectedColumn } from 'pgsql-ast-parser'
import type { ExpressionBuilder } from '../../expressions/build.ts'
import type { Column } from '../../plan/plan.ts'
import { NO_ID } from '../../parse/sql.ts'
import { warnLowerCase } from './scope.ts'
import type { SourceTable } from './table.ts'

const warnOther = (builder: ExpressionBuilder, column: SelectedColumn): void =>
  builder.sql.warning(
    'id-over-star',
    'The id of the row is this value, also where it is NULL: such rows are left out, and told. Add a filter … IS NOT NULL.',
    column,
  )

/** Returns the name of an output column, or null after reporting an error. */
export function columnName(builder: ExpressionBuilder, column: SelectedColumn): string | null {
  if (column.alias) return column.alias.name
  if (column.expr.type === 'ref' && column.expr.name !== '*') return column.expr.name
  builder.sql.error('alias-required', 'Give this expression a name: … AS name.', column.expr)
  return null
}

/**
 * Compiles the SELECT list of data queries, streams of edition 2 and events. `*` hides columns that begin with `_` and
 * overrides nothing.
 */
export function dataColumns(
  builder: ExpressionBuilder,
  columns: readonly SelectedColumn[] | null | undefined,
  table: Pick<SourceTable, 'name' | 'node'>,
  idRequired: boolean,
): Column[] {
  const out: Column[] = []
  let all = false
  /** Returns the expression of the id when it is not the column of that name. */
  let other: SelectedColumn | null = null
  for (const column of columns ?? []) {
    const { expr } = column
    if (expr.type === 'ref' && expr.name === '*') {
      // Here the table's own name is known even when it has an alias.
      if (expr.table && expr.table.name !== table.name && expr.table.name !== table.node.name.name)
        builder.sql.error('unknown-reference', `'${expr.table.name}' is not the table of this query.`, expr)
      all = true
      if (idRequired && other) warnOther(builder, other)
      out.push({ all: { hidden: false, fill: true } })
      continue
    }
    const name = columnName(builder, column)
    if (column.alias) warnLowerCase(builder.sql, column.alias)
    const value = builder.build(expr)
    if (name !== null && value) out.push({ name, expr: value })
    if (name === 'id' && !(expr.type === 'ref' && expr.name === 'id')) other = column
  }
  const named = (columns ?? []).some(
    (column) => (column.alias?.name ?? (column.expr.type === 'ref' ? column.expr.name : '')) === 'id',
  )
  if (idRequired && !all && !named) {
    builder.sql.error('id-missing', NO_ID, columns?.[0])
  }
  return out
}
