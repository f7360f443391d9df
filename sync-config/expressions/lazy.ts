import type { Environment } from './environment.ts'
import { equal } from './operators.ts'
import { bool, compare, EvaluationFailure, isNull, truth, type Value } from './values.ts'

export type Evaluate = (environment: Environment) => Value

/**
 * Compiles the operators that stop at the operand that decides, because a row or a request must not be lost when
 * another operand has no value. Returns null for the names of other functions.
 */
export function compileLazy(name: string, args: readonly Evaluate[]): Evaluate | null {
  const [a, b, c] = args
  switch (name) {
    case 'and':
      return a && b && args.length === 2 ? connective(a, b, false) : null
    case 'or':
      return a && b && args.length === 2 ? connective(a, b, true) : null
    case 'iif':
      return a && b && c ? (e) => (truth(a(e)) ? b(e) : c(e)) : null
    case 'ifnull':
      return a && b ? (e) => firstOf(args.slice(0, 2), e) : null
    case 'between':
      return a && b && c ? (e) => between(a, b, c, e) : null
    case 'in list':
      return a ? (e) => inList(a, args.slice(1), e) : null
    case 'case':
      return (e) => caseWhen(args, e)
    case 'case of':
      return a ? (e) => caseOf(a, args, e) : null
    default:
      return null
  }
}

/** AND, which false decides, or OR, which true decides. Either side can decide, also when the first has no value. */
function connective(a: Evaluate, b: Evaluate, decides: boolean): Evaluate {
  const decided = bool(decides)
  return (e) => {
    let left: boolean
    try {
      left = truth(a(e))
    } catch (error) {
      if (error instanceof EvaluationFailure && truth(b(e)) === decides) return decided
      throw error
    }
    return left === decides ? decided : bool(truth(b(e)))
  }
}

function firstOf(args: readonly Evaluate[], e: Environment): Value {
  let value: Value = null
  for (const arg of args) {
    value = arg(e)
    if (!isNull(value)) break
  }
  return value
}

/**
 * BETWEEN. NULL when one of the three is NULL, as in the reference. A value below the lower bound is outside even when
 * the upper one has no value.
 */
function between(x: Evaluate, lo: Evaluate, hi: Evaluate, e: Environment): Value {
  const value = x(e)
  if (isNull(value)) return null
  const least = lo(e)
  if (isNull(least)) return null
  const below = compare(value, least) < 0
  let most: Value
  try {
    most = hi(e)
  } catch (error) {
    if (below && error instanceof EvaluationFailure) return 0n
    throw error
  }
  return isNull(most) ? null : bool(!below && compare(value, most) <= 0)
}

/** `x IN ARRAY[…]`, which is three-valued. An item without a value does not matter when another one is equal. */
function inList(x: Evaluate, items: readonly Evaluate[], e: Environment): Value {
  const value = x(e)
  if (isNull(value)) return null
  let unknown = false
  let failure: EvaluationFailure | null = null
  for (const item of items) {
    try {
      const other = item(e)
      if (equal(other, value)) return 1n
      unknown ||= isNull(other)
    } catch (error) {
      if (!(error instanceof EvaluationFailure)) throw error
      failure ??= error
    }
  }
  if (failure) throw failure
  return unknown ? null : 0n
}

function caseWhen(args: readonly Evaluate[], e: Environment): Value {
  for (let i = 0; i + 1 < args.length; i += 2) if (truth(args[i]?.(e))) return args[i + 1]?.(e)
  return args.length % 2 === 1 ? args[args.length - 1]?.(e) : null
}

function caseOf(operand: Evaluate, args: readonly Evaluate[], e: Environment): Value {
  const value = operand(e)
  for (let i = 1; i + 1 < args.length; i += 2) if (equal(value, args[i]?.(e))) return args[i + 1]?.(e)
  return args.length % 2 === 0 ? args[args.length - 1]?.(e) : null
}
