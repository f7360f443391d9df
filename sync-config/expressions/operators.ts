import type { SqlFunction } from './functions.ts'
import { arrayOf } from './elements.ts'
import type { Json } from './json.ts'
import { arrow, jsonOf, sqlValue } from './paths.ts'
import {
  bool,
  byteForm,
  castInteger,
  compare,
  EvaluationFailure,
  identity,
  isNull,
  keyText,
  numericForm,
  realForm,
  textForm,
  truth,
  type Value,
} from './values.ts'

const op = (evaluate: (args: readonly Value[]) => Value): SqlFunction => ({ arity: [0, Infinity], evaluate })

const comparison = (test: (order: number) => boolean): SqlFunction =>
  op(([a, b]) => (isNull(a) || isNull(b) ? null : bool(test(compare(a, b)))))

function arithmetic(
  ints: (a: bigint, b: bigint) => bigint | null,
  reals: (a: number, b: number) => number | null,
): SqlFunction {
  return op(([x, y]) => {
    const a = numericForm(x)
    const b = numericForm(y)
    if (a === null || b === null) return null
    return typeof a === 'bigint' && typeof b === 'bigint' ? ints(a, b) : reals(Number(a), Number(b))
  })
}

export const equal = (a: Value, b: Value): boolean => !isNull(a) && !isNull(b) && compare(a, b) === 0

/** `x IN json-array`. NULL on either side gives NULL, and JSON null equals nothing. */
function inArray([x, list]: readonly Value[]): Value {
  if (isNull(x) || isNull(list)) return null
  return bool(arrayOf(list).some((item) => equal(sqlValue(item), x)))
}

/** The same over a list that does not change, so its elements are computed once. */
export interface FixedList {
  /** Returns the identities of the elements. `list` is not NULL. */
  elements(list: Value): ReadonlySet<string>
  /** Returns the result for a value that is not NULL, by whether it was found among them. */
  holds(found: boolean): Value
  nullValue: Value
  nullList: Value
}

const identities = (items: readonly Json[]): ReadonlySet<string> =>
  new Set(items.flatMap((item) => identity(sqlValue(item)) ?? []))

export const fixedLists: ReadonlyMap<string, FixedList> = new Map([
  ['in', { elements: (list) => identities(arrayOf(list)), holds: bool, nullValue: null, nullList: null }],
  [
    'not in',
    { elements: (list) => identities(membersOf(list)), holds: (found) => bool(!found), nullValue: 1n, nullList: 1n },
  ],
  [
    'not(in)',
    { elements: (list) => identities(membersOf(list)), holds: (found) => bool(!found), nullValue: 1n, nullList: null },
  ],
] satisfies [string, FixedList][])

/**
 * Returns true when no element of the array is equal. Like `x IN json` as a condition it reads the members of an object
 * and a scalar too, but with exact numbers. `ofNull` is the result for a list that is NULL.
 */
function notIn([x, list]: readonly Value[], ofNull: Value): Value {
  if (isNull(list)) return ofNull
  if (isNull(x)) return 1n
  return bool(!membersOf(list).some((item) => equal(sqlValue(item), x)))
}

function membersOf(list: Value): Json[] {
  if (typeof list !== 'string') throw new EvaluationFailure('IN: the right side is not JSON text')
  const json = jsonOf(list)
  if (Array.isArray(json)) return json
  return json !== null && typeof json === 'object' ? Object.values(json) : [json]
}

const WORD = 64n

function integers(compute: (a: bigint, b: bigint) => bigint | null): SqlFunction {
  return op(([x, y]) => {
    const a = castInteger(numericForm(x))
    const b = castInteger(numericForm(y))
    if (typeof a !== 'bigint' || typeof b !== 'bigint') return null
    const result = compute(BigInt.asIntN(64, a), BigInt.asIntN(64, b))
    return result === null ? null : BigInt.asIntN(64, result)
  })
}

/** Shifts to the left, or to the right by a negative count. A count of 64 or more leaves only the sign. */
function shift(value: bigint, by: bigint): bigint {
  if (by >= 0n) return by >= WORD ? 0n : value << by
  return -by >= WORD ? (value < 0n ? -1n : 0n) : value >> -by
}

const unsupported = (name: string): SqlFunction =>
  op(() => {
    throw new EvaluationFailure(`the operator ${name} cannot be evaluated`)
  })

/**
 * Operators by the names that plans use. Those that do not evaluate all of their operands are in `lazy.ts`. AND, OR and
 * NOT are two-valued: 0 or 1, and NULL counts as false. `!=` is the form of bucket definitions (NULL for NULL); streams
 * use `not(=)`.
 */
export const operators: ReadonlyMap<string, SqlFunction> = new Map([
  ['=', comparison((o) => o === 0)],
  ['!=', comparison((o) => o !== 0)],
  ['<', comparison((o) => o < 0)],
  ['<=', comparison((o) => o <= 0)],
  ['>', comparison((o) => o > 0)],
  ['>=', comparison((o) => o >= 0)],
  ['not', op(([a]) => bool(!truth(a)))],
  ['truth', op(([a]) => bool(truth(a)))],
  ['is null', op(([a]) => bool(isNull(a)))],
  // IS compares with 1 or 0 and is never NULL.
  ['is', op(([a, b]) => bool(isNull(a) || isNull(b) ? isNull(a) && isNull(b) : compare(a, b) === 0))],
  [
    '+',
    arithmetic(
      (a, b) => a + b,
      (a, b) => a + b,
    ),
  ],
  [
    '-',
    arithmetic(
      (a, b) => a - b,
      (a, b) => a - b,
    ),
  ],
  [
    '*',
    arithmetic(
      (a, b) => a * b,
      (a, b) => a * b,
    ),
  ],
  [
    '/',
    arithmetic(
      (a, b) => (b === 0n ? null : a / b),
      (a, b) => (b === 0 ? null : a / b),
    ),
  ],
  ['||', op(([a, b]) => (isNull(a) || isNull(b) ? null : `${textForm(a)}${textForm(b)}`))],
  ['in', op(inArray)],
  ['not in', op((args) => notIn(args, 1n))],
  ['not(in)', op((args) => notIn(args, null))],
  ['->', op(([a, b]) => arrow(a, b, 'json', true))],
  ['->>', op(([a, b]) => arrow(a, b, 'value', true))],
  ['->_1', op(([a, b]) => arrow(a, b, 'json', false))],
  ['->>_1', op(([a, b]) => arrow(a, b, 'value', false))],
  ['cast text', op(([a]) => textForm(a))],
  ['cast integer', op(([a]) => castInteger(a))],
  ['cast real', op(([a]) => realForm(a))],
  ['cast numeric', op(([a]) => numericForm(a))],
  ['cast blob', op(([a]) => (isNull(a) ? null : byteForm(a)))],
  // An equality between two tables compares normalised keys. NULL equals nothing.
  ['same key', op(([a, b]) => bool(!isNull(a) && !isNull(b) && keyText(a) !== undefined && keyText(a) === keyText(b)))],
  // 64-bit integers, as in SQLite.
  ['remainder', integers((a, b) => (b === 0n ? null : a % b))],
  ['bit and', integers((a, b) => a & b)],
  ['bit or', integers((a, b) => a | b)],
  ['shift left', integers(shift)],
  ['shift right', integers((a, b) => shift(a, -b))],
  // Used instead by plans that are compared with the reference. They fail for every row.
  ['%', unsupported('%')],
  ['&', unsupported('&')],
  ['|', unsupported('|')],
  ['<<', unsupported('<<')],
  ['>>', unsupported('>>')],
])
