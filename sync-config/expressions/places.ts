import type { Range } from '../parse/findings.ts'

/** An expression, as far as it counts here. */
type WrittenExpr = readonly [kind: string, ...unknown[]]

interface Written {
  range: Range
  /** The query that it stands in. */
  query: object
}

/** Where expressions were written. Beside them, because plans are their content alone. */
const places = new WeakMap<WrittenExpr, Written>()

export function noteWritten(expr: WrittenExpr, range: Range, query: object): void {
  // It is one object for all.
  if (expr[0] !== 'null') places.set(expr, { range, query })
}

/** What takes the place of an expression was written where that was. */
export function inheritPlace<E extends WrittenExpr>(from: WrittenExpr, to: E): E {
  const place = places.get(from)
  if (place && to[0] !== 'null' && !places.has(to)) places.set(to, place)
  return to
}

/** Where the first of them was written that was written within these bounds, with the others of the same query; null when none was. */
export function placeOf(exprs: readonly WrittenExpr[], [from, until]: Range): Range | null {
  const written = exprs.flatMap((expr) => places.get(expr) ?? []).filter(({ range: [start, end] }) => start >= from && end <= until)
  const [first] = written
  if (!first) return null
  const together = written.filter(({ query }) => query === first.query)
  return [Math.min(...together.map(({ range: [start] }) => start)), Math.max(...together.map(({ range: [, end] }) => end))]
}
