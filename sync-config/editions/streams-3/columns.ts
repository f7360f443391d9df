import type { SelectFromStatement } from 'pgsql-ast-parser'
import { rewrite, type Expr } from '../../expressions/expression.ts'
import type { Column } from '../../plan/plan.ts'
import { NO_ID, type SqlExpr } from '../../parse/sql.ts'
import type { Item } from './nodes.ts'
import type { SelectScope } from './select.ts'

/**
 * Compiles the SELECT list of a stream's query. All columns come from one table, the primary. Returns null after
 * reporting errors.
 */
export function readColumns(
  scope: SelectScope,
  select: SelectFromStatement,
): { primary: number; columns: Column[] } | null {
  const { sql, nodes } = scope
  const columns: Column[] = []
  const primaries = new Map<number, SqlExpr>()
  const named = new Set<string>()
  let failed = false
  /** The `*` of tables themselves. */
  const stars: { index: number; node: SqlExpr }[] = []
  const take = (name: string, expr: Expr, node: SqlExpr): void => {
    for (const { side, leaf } of nodes.leaves(expr)) {
      if (side === 'request' || leaf[0] === 'each' || nodes.all[side]?.kind !== 'table') {
        sql.error(
          'select-request',
          'Only values of a source table can be synced, not values of the request or of json_each.',
          nodes.written(leaf) ?? node,
        )
        failed = true
        return
      }
      if (!primaries.has(side)) primaries.set(side, node)
    }
    named.add(name)
    columns.push({ name, expr: rewrite(expr, (part) => (part[0] === 'column' ? ['column', part[1]] : undefined)) })
  }
  const all = (item: Item, node: SqlExpr): void => {
    if (item.columns) {
      for (const [name, expr] of item.columns) take(name, expr, node)
      return
    }
    const probe = item.column('id')
    const index = probe?.[0] === 'column' ? probe[2] : undefined
    if (index === undefined) {
      sql.error('select-request', 'Only values of a source table can be synced.', node)
      failed = true
      return
    }
    if (named.size > 0) sql.warning('star-overrides', '* after other columns replaces those of the same name.', node)
    primaries.set(index, node)
    stars.push({ index, node })
    columns.push({ all: { hidden: true, fill: false } })
  }
  for (const column of select.columns ?? []) {
    const node = column.expr
    if (node.type === 'ref' && node.name === '*') {
      const items = node.table
        ? [scope.items.find((item) => item.name.toLowerCase() === node.table?.name.toLowerCase())]
        : scope.items
      for (const item of items) {
        if (item && node.table && !scope.named(item, node.table)) {
          sql.error(
            'column-schema',
            'Write table.*: this schema is not that of the table in FROM, or the table has an alias.',
            node,
          )
          failed = true
        } else if (item) all(item, node)
        else if (!scope.broken) sql.error('unknown-table', `'${node.table?.name}' does not stand in FROM.`, node)
      }
      continue
    }
    const expr = scope.builder(false).build(node)
    if (!expr) {
      failed = true
      continue
    }
    if (!column.alias && node.type !== 'ref')
      sql.warning('column-name', 'This column has no name of its own: add … AS name.', node)
    take(column.alias?.name ?? (node.type === 'ref' ? node.name : sql.slice(node)), expr, node)
  }
  const [primary, ...more] = primaries.keys()
  if (failed || scope.broken) return null
  if (primary === undefined || more.length > 0) {
    const second = more[0] === undefined ? undefined : primaries.get(more[0])
    sql.error(
      'primary-table',
      primary === undefined
        ? 'The query selects nothing from a table.'
        : 'All selected columns must come from one table: rows of a client are rows of one table.',
      second ?? select.columns?.[0] ?? select,
    )
    return null
  }
  if (!named.has('id')) checkId(scope, stars[0], select)
  const table = nodes.all[primary]
  if (table?.kind === 'table') scope.context.schema?.checkBytes(sql, table.pattern, columns, select)
  return { primary, columns }
}

/** Called when no column is named id, so that `*` must contain it. */
function checkId(
  { sql, nodes, context }: SelectScope,
  star: { index: number; node: SqlExpr } | undefined,
  select: SelectFromStatement,
): void {
  if (!star) return sql[context.copyTraps ? 'warning' : 'error']('id-missing', NO_ID, select.columns?.[0])
  const table = nodes.all[star.index]
  if (table?.kind === 'table') context.schema?.checkId(sql, table.pattern, star.node)
}
