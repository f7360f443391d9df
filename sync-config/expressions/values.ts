import type { SqliteValue } from '../../protocol/values.ts'
import { MAX_INTEGER_DIGITS } from '../limits.ts'
import { realText } from './json.ts'

/** A value. undefined is a column that the row lacks: it is NULL in expressions, and absent in the output. */
export type Value = SqliteValue | undefined

/** Thrown when an expression has no value for a row or a request. Only the output concerned is lost. */
export class EvaluationFailure extends Error {
  override readonly name = 'EvaluationFailure'
}

export const isNull = (value: Value): value is null | undefined => value === null || value === undefined

/**
 * Returns the truth of a value for WHERE, AND, OR, NOT, iif and CASE WHEN. TEXT counts by its integer prefix, so
 * `'0.5'` and `'true'` are false.
 */
export function truth(value: Value): boolean {
  switch (typeof value) {
    case 'bigint':
      return value !== 0n
    case 'number':
      return value !== 0
    case 'string': {
      const prefix = Number.parseInt(value, 10)
      return !Number.isNaN(prefix) && prefix !== 0
    }
    default:
      return false
  }
}

export const bool = (value: boolean): bigint => (value ? 1n : 0n)

const rank = (value: Exclude<Value, null | undefined>): number =>
  typeof value === 'string' ? 1 : typeof value === 'object' ? 2 : 0

/**
 * Compares two values that are not NULL: numbers before TEXT before BLOB, TEXT by UTF-16 units, and NaN after all other
 * numbers, as in Postgres.
 */
export function compare(a: Exclude<Value, null | undefined>, b: Exclude<Value, null | undefined>): number {
  const byClass = rank(a) - rank(b)
  if (byClass !== 0) return byClass
  if (typeof a === 'object') throw new EvaluationFailure('two BLOBs cannot be compared; compare their hex(…)')
  // A bigint and a double compare exactly in JavaScript.
  if (a < b) return -1
  if (a > b) return 1
  // JavaScript has no order for NaN, so without this it would equal every number.
  return Number(Number.isNaN(a)) - Number(Number.isNaN(b))
}

/**
 * Returns a string that is the same for equal values, numbers by their value, or null for NULL, which equals nothing,
 * and for a BLOB.
 */
export function identity(value: Value): string | null {
  switch (typeof value) {
    case 'string':
      return `t${value}`
    case 'bigint':
      return `n${value}`
    case 'number':
      return Number.isInteger(value) ? `n${BigInt(value)}` : `n${value}`
    default:
      return null
  }
}

const utf8 = new TextDecoder()
const encoder = new TextEncoder()

/** Returns the text form for `||`, CAST AS TEXT, upper and so on. NULL stays null. */
export function textForm(value: Value): string | null {
  if (isNull(value)) return null
  if (typeof value === 'string') return value
  return typeof value === 'object' ? utf8.decode(value) : String(value)
}

/** Returns the bytes of a BLOB, or of the text form in UTF-8. */
export function byteForm(value: Exclude<Value, null | undefined>): Uint8Array {
  return typeof value === 'object' ? value : encoder.encode(String(value))
}

/**
 * Parses a sign and digits. Throws EvaluationFailure for too many digits, because parsing takes more than linear time.
 */
export function integerOf(text: string): bigint {
  if (text.length > MAX_INTEGER_DIGITS)
    throw new EvaluationFailure(`an integer of more than ${MAX_INTEGER_DIGITS} digits`)
  return BigInt(text.replace('+', ''))
}

const numericPrefix = /^\s*([+-]?(?:\d+(\.\d*)?|(\.\d+))([eE][+-]?\d+)?)/

/** Returns the numeric form for arithmetic and CAST AS NUMERIC: the longest numeric prefix, or 0 without one. */
export function numericForm(value: Value): bigint | number | null {
  if (isNull(value)) return null
  if (typeof value === 'bigint' || typeof value === 'number') return value
  const found = numericPrefix.exec(textForm(value) ?? '')
  if (!found || found[1] === undefined) return 0n
  const real = found[2] !== undefined || found[3] !== undefined || found[4] !== undefined
  return real ? Number(found[1]) : integerOf(found[1])
}

/** Returns the numeric form as REAL, with any number of digits. */
export function realForm(value: Value): number | null {
  if (isNull(value)) return null
  return typeof value === 'bigint' || typeof value === 'number'
    ? Number(value)
    : Number(numericPrefix.exec(textForm(value) ?? '')?.[1] ?? 0)
}

const integerPrefix = /^\s*([+-]?\d+)/

/** CAST AS INTEGER: the leading digits of TEXT, the floor of REAL, of any size. */
export function castInteger(value: Value): Value {
  if (isNull(value)) return null
  if (typeof value === 'bigint') return value
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new EvaluationFailure(`${value} cannot be cast to an integer`)
    return BigInt(Math.floor(value))
  }
  const found = integerPrefix.exec(textForm(value) ?? '')
  return found?.[1] === undefined ? 0n : integerOf(found[1])
}

/**
 * An object or array that is an element of an array that makes keys. In a key it appears as JSON, so it equals no text.
 * Elsewhere it is bytes.
 */
export class NestedJson extends Uint8Array {
  readonly json: string

  constructor(json: string) {
    super(0)
    this.json = json
  }
}

/**
 * Returns a value as JSON for a bucket or lookup key. Equal text means equal keys. Returns undefined for values that
 * cannot be a key: a BLOB, NaN and the infinities, which JSON would print as null. A client can send such a number, as
 * 1e999.
 */
export function keyText(value: Value): string | undefined {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value)
    case 'bigint':
      return value.toString()
    case 'number':
      return Number.isInteger(value) ? BigInt(value).toString() : Number.isFinite(value) ? realText(value) : undefined
    default:
      return isNull(value) ? 'null' : value instanceof NestedJson ? value.json : undefined
  }
}

/** Returns a value in the JSON that clients store, or undefined when it is left out (missing columns and BLOBs). */
export function columnText(value: Value): string | undefined {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value)
    case 'bigint':
      return value.toString()
    case 'number':
      return realText(value)
    default:
      return value === null ? 'null' : undefined
  }
}
