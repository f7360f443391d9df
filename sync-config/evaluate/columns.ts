import { some, type Expr } from '../expressions/expression.ts'
import type { Branch, Column, PlanContent, TablePattern } from '../plan/plan.ts'
import type { LoadedPlan, ReadColumns } from '../types.ts'
import type { TableName } from '../../protocol/tables.ts'
import { matches } from './rows.ts'

/** The columns of a table that a plan reads. A name from a query over a wildcard need not exist in every table. */
export function columnsOf(content: PlanContent, table: TableName): ReadColumns {
  const out = { all: false, read: new Set<string>(), named: new Set<string>() }
  const reads = (
    pattern: TablePattern,
    columns: readonly Column[],
    branches: readonly Branch[],
    more: readonly Expr[] = [],
  ) => {
    if (!matches(pattern, table, pattern.connection)) return
    const exprs = [...more]
    for (const column of columns) {
      if ('all' in column) out.all = true
      else exprs.push(column.expr)
    }
    for (const { each, filter, keys } of branches) {
      exprs.push(...each.map(({ expr }) => expr), ...(filter ? [filter] : []), ...keys.map(({ expr }) => expr))
    }
    for (const expr of exprs) {
      some(expr, (part) => {
        if (part[0] !== 'column') return false
        out.read.add(part[1])
        if (!pattern.wildcard) out.named.add(part[1])
        return false
      })
    }
  }
  for (const { queries } of content.definitions)
    for (const query of queries) reads(query.table, query.columns, query.branches)
  for (const { table: of, branches } of content.lookups) {
    reads(
      of,
      [],
      branches,
      branches.flatMap(({ outputs }) => outputs),
    )
  }
  for (const { queries } of content.events) for (const query of queries) reads(query.table, query.columns, [])
  return out
}

/** Returns what a plan reads of a table that has these names. */
export const namedColumns =
  (plan: Pick<LoadedPlan, 'columns'>) =>
  (names: readonly TableName[]): ReadColumns =>
    joinColumns(names.map((name) => plan.columns(name)))

/** Returns what several plans, or several names of one table, read together. */
export function joinColumns(list: readonly ReadColumns[]): ReadColumns {
  return {
    all: list.some(({ all }) => all),
    read: new Set(list.flatMap(({ read }) => [...read])),
    named: new Set(list.flatMap(({ named }) => [...named])),
  }
}
