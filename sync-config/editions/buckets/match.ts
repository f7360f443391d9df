import { call, conjunction, type Expr } from '../../expressions/expression.ts'
import type { Branch, Key, Walked } from '../../plan/plan.ts'
import type { SqlExpr } from '../../parse/sql.ts'
import type { Work } from '../../parse/work.ts'

/**
 * A comparison that becomes a part of a key: the row's value and, in parameter queries, the request's value.
 * Components with the same id belong to the same parameter.
 */
export interface Component {
  id: string
  row: Expr
  node: SqlExpr
  /** True when the row's value is a JSON array, with one key per element. */
  rowArray: boolean
  request?: { expr: Expr; array: boolean }
}

/** One way to match, which requires all components and all filters. */
export interface Alternative {
  components: Component[]
  filters: Expr[]
}

export const filterOnly = (expr: Expr): Alternative[] => [{ components: [], filters: [expr] }]

/** Combines every alternative of one side with every one of the other. Returns null when there are more than `most`. */
export function both(
  left: Alternative[],
  right: Alternative[],
  { most, work }: { most: number; work: Work },
): Alternative[] | null {
  if (left.length * right.length > most) return null
  return left.flatMap((a) =>
    right.map((b) => {
      const components = [...a.components, ...b.components]
      const filters = [...a.filters, ...b.filters]
      work.step('plan', components.length + filters.length)
      return { components, filters }
    }),
  )
}

export const idsOf = (alternative: Alternative | undefined): string[] =>
  [...new Set((alternative?.components ?? []).map((component) => component.id))].sort()

/**
 * Returns the row side of an alternative: key parts in the order of `ids`. A second comparison with the same parameter
 * becomes a filter. (With `copyTraps` it is dropped, as in the reference, which grants too much.)
 */
export function branchOf(alternative: Alternative, ids: readonly string[], copyTraps: boolean): Branch {
  const each: Walked[] = []
  const filters = [...alternative.filters]
  const value = (component: Component): Expr => {
    if (!component.rowArray) return component.row
    each.push({ expr: component.row, how: 'keys' })
    return ['each', each.length - 1, 'value']
  }
  const keys = ids.map((id): Key => {
    const [first, ...more] = alternative.components.filter((component) => component.id === id)
    if (!first) return { expr: ['null'], nulls: false }
    const expr = value(first)
    if (!copyTraps) for (const other of more) filters.push(call('same key', expr, value(other)))
    // A bucket parameter may be a NULL that a parameter query found in a table. A NULL of the request equals nothing
    // here; in the reference it equals NULL.
    const nulls = first.request === undefined ? first.rowArray : copyTraps && (first.rowArray || first.request.array)
    return { expr, nulls }
  })
  return { each, filter: conjunction(filters), keys }
}
