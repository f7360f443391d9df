import { inheritPlace } from './places.ts'

/** Where request values come from. Text views print every number as REAL; value views keep whole numbers INTEGER. */
export type RequestSource = 'sub' | 'jwt' | 'connection' | 'subscription' | 'token_sub'

/**
 * An expression of the plan, as plain JSON. Everything that computes is a `call`, with the function names of
 * `functions.ts` and `operators.ts`. Where editions differ, the name says which form is meant, so that evaluation needs
 * no flags.
 */
export type Expr =
  | readonly ['null']
  /** Decimal digits, because integers have no limit. */
  | readonly ['int', string]
  | readonly ['real', number]
  | readonly ['text', string]
  /** While a query with several tables is compiled, columns and elements also have the index of their FROM item. */
  | readonly ['column', string, number?]
  /** Metadata of the source row: its schema, its table, or what a wildcard matched. */
  | readonly ['meta', 'schema' | 'table' | 'suffix']
  /** Element number `n` of the current combination. */
  | readonly ['each', number, 'key' | 'value' | 'other', number?]
  /** Output `m` of the `n`th lookup step. */
  | readonly ['output', number, number]
  | readonly ['request', RequestSource]
  /** A top-level member in the value view: a client parameter, or of the claim `parameters`. */
  | readonly ['member', 'connection' | 'token', string | Expr]
  | readonly ['call', string, readonly Expr[]]

export const NULL: Expr = ['null']
export const call = (name: string, ...args: Expr[]): Expr => ['call', name, args]
export const integer = (value: bigint | number): Expr => ['int', String(value)]
export const text = (value: string): Expr => ['text', value]

/** Returns a canonical text, which is equal for equal expressions. */
export const canonical = (value: unknown): string => JSON.stringify(value)

/** Returns true when the expression, or one inside it, passes the test. */
export function some(expr: Expr, test: (part: Expr) => boolean): boolean {
  return test(expr) || (expr[0] === 'call' && expr[2].some((arg) => some(arg, test)))
}

/**
 * Returns true when the value is the same in all loops of a request, because it reads no row, no element and no result
 * of a lookup.
 */
export function isFixed(expr: Expr): boolean {
  switch (expr[0]) {
    case 'column':
    case 'meta':
    case 'each':
    case 'output':
      return false
    case 'member':
      return typeof expr[2] === 'string' || isFixed(expr[2])
    case 'call':
      return expr[2].every(isFixed)
    default:
      return true
  }
}

/** Returns true when the expression reads the parameters of a subscription. */
export function readsSubscription(expr: Expr): boolean {
  if (expr[0] === 'call') return expr[2].some(readsSubscription)
  return expr[0] === 'member'
    ? typeof expr[2] !== 'string' && readsSubscription(expr[2])
    : expr[0] === 'request' && expr[1] === 'subscription'
}

/** Returns the expression with some parts replaced. `replace` returns undefined for parts that stay. */
export function rewrite(expr: Expr, replace: (part: Expr) => Expr | undefined): Expr {
  const other = replace(expr)
  if (other !== undefined) return inheritPlace(expr, other)
  return expr[0] === 'call' ? inheritPlace(expr, ['call', expr[1], expr[2].map((arg) => rewrite(arg, replace))]) : expr
}

export function conjunction(parts: readonly Expr[]): Expr | null {
  return parts.length === 0 ? null : parts.reduce((left, right) => call('and', left, right))
}
