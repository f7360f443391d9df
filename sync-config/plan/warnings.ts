import { canonical, NULL, type Expr } from '../expressions/expression.ts'
import { MAX_BUCKETS_PER_ROW } from '../limits.ts'
import type { FindingCode } from '../parse/codes.ts'
import type { Branch, Definition, Lookup, Program, TablePattern } from './plan.ts'

/** Returns warnings about costs that grow with the data, each message once. */
export function costWarnings(
  program: Program,
  definitions: readonly Definition[],
  lookups: readonly Lookup[],
): [FindingCode, string][] {
  const found = new Map<string, FindingCode>()
  for (const variant of program.variants) {
    const asked = variant.steps.flatMap((step) => ('lookup' in step ? (lookups[step.lookup] ?? []) : []))
    for (const query of [...(definitions[variant.definition]?.queries ?? []), ...asked]) {
      for (const message of query.branches.flatMap((branch) => unboundedArrays(branch, query.table)))
        found.set(message, 'unbounded-array')
    }
    for (const step of variant.steps) {
      const lookup = 'lookup' in step && step.keys.length === 0 ? lookups[step.lookup] : undefined
      if (lookup) found.set(withoutKey(lookup.table), 'lookup-without-key')
    }
  }
  return Array.from(found, ([message, code]): [FindingCode, string] => [code, message])
}

const tableName = ({ name, wildcard }: TablePattern): string => `${name}${wildcard ? '%' : ''}`

const withoutKey = (table: TablePattern): string =>
  `All rows that this finds in ${tableName(table)} are one bucket that every client reads completely. Compare a column of ${tableName(table)} with a value of the request.`

function unboundedArrays(branch: Branch, table: TablePattern): string[] {
  const bounded = new Set(conjuncts(branch.filter).map((condition) => arrayText(boundedArray(condition) ?? NULL)))
  return branch.each
    .map(({ expr }) => expr)
    .filter((expr) => !bounded.has(arrayText(expr)))
    .map((expr) => {
      const array = withoutDefault(expr)
      const [what, bound] =
        array[0] === 'column' ? [array[1], `: add json_array_length(${array[1]}) <= 100, say`] : ['an array', '']
      return `A row of ${tableName(table)} goes into one bucket for each element of ${what}, and nothing limits their number${bound}. A row in more than ${MAX_BUCKETS_PER_ROW} buckets is left out.`
    })
}

const conjuncts = (expr: Expr | null): Expr[] =>
  expr === null ? [] : expr[0] === 'call' && expr[1] === 'and' ? expr[2].flatMap(conjuncts) : [expr]

/** Returns the array whose length the condition limits by a number. */
function boundedArray(condition: Expr): Expr | undefined {
  if (condition[0] !== 'call') return undefined
  const [, name, [a, b, c]] = condition
  if (name === '<' || name === '<=' || name === '=') return b?.[0] === 'int' ? lengthOf(a) : undefined
  if (name === '>' || name === '>=') return a?.[0] === 'int' ? lengthOf(b) : undefined
  return name === 'between' && c?.[0] === 'int' ? lengthOf(a) : undefined
}

const lengthOf = (expr: Expr | undefined): Expr | undefined =>
  expr?.[0] === 'call' && expr[1] === 'json_array_length' && expr[2].length === 1 ? expr[2][0] : undefined

/** Removes the default that `&&` of edition 2 sets for NULL. */
const withoutDefault = (expr: Expr): Expr => (expr[0] === 'call' && expr[1] === 'ifnull' ? (expr[2][0] ?? expr) : expr)
const arrayText = (expr: Expr): string => canonical(withoutDefault(expr))
