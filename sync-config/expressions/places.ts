import type { Range } from '../parse/findings.ts'

/** The part of an expression that matters here. */
type WrittenExpr = readonly [kind: string, ...unknown[]]

interface Written {
  range: Range
  /** The query that contains it. */
  query: object
}

/** Where expressions were written. Stored separately, because a plan's hash covers only its content. */
const places = new WeakMap<WrittenExpr, Written>()

export function noteWritten(expr: WrittenExpr, range: Range, query: object): void {
  // NULL is one object that all expressions share.
  if (expr[0] !== 'null') places.set(expr, { range, query })
}

/** Gives the replacement of an expression the place of the original. */
export function inheritPlace<E extends WrittenExpr>(from: WrittenExpr, to: E): E {
  const place = places.get(from)
  if (place && to[0] !== 'null' && !places.has(to)) places.set(to, place)
  return to
}

/**
 * Returns the range from the first expression within these bounds to the last one of the same query, or null when there
 * is none.
 */
export function placeOf(exprs: readonly WrittenExpr[], [from, until]: Range): Range | null {
  const written = exprs
    .flatMap((expr) => places.get(expr) ?? [])
    .filter(({ range: [start, end] }) => start >= from && end <= until)
  const [first] = written
  if (!first) return null
  const together = written.filter(({ query }) => query === first.query)
  return [
    Math.min(...together.map(({ range: [start] }) => start)),
    Math.max(...together.map(({ range: [, end] }) => end)),
  ]
}
