import type { SqliteValue } from '../../protocol/values.ts'
import { MAX_INTEGER_DIGITS } from '../limits.ts'
import { realText } from './json.ts'

/** undefined = a column that the row lacks: NULL in expressions, absent in the output. */
export type Value = SqliteValue | undefined

/** A row or request for which an expression has no value. Only the output concerned is lost. */
export class EvaluationFailure extends Error {
  override readonly name = 'EvaluationFailure'
}

export const isNull = (value: Value): value is null | undefined => value === null || value === undefined

/** Truth of WHERE, AND, OR, NOT, iif, CASE WHEN. TEXT counts by its integer prefix, so `'0.5'` and `'true'` are false. */
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

const rank = (value: Exclude<Value, null | undefined>): number => (typeof value === 'string' ? 1 : typeof value === 'object' ? 2 : 0)

/** Order of two values that are not NULL: numbers before TEXT before BLOB, TEXT by UTF-16 units; NaN after all other numbers, as in Postgres. */
export function compare(a: Exclude<Value, null | undefined>, b: Exclude<Value, null | undefined>): number {
  const byClass = rank(a) - rank(b)
  if (byClass !== 0) return byClass
  if (typeof a === 'object') throw new EvaluationFailure('two BLOBs cannot be compared; compare hex(…) of them')
  // A bigint and a double compare exactly in JavaScript.
  if (a < b) return -1
  if (a > b) return 1
  // JavaScript has no order of NaN: without this it would be equal to every number.
  return Number(Number.isNaN(a)) - Number(Number.isNaN(b))
}

/** Equal for values that are equal, numbers by their value; null for NULL, which equals nothing, and for a BLOB. */
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

/** Text form for `||`, CAST AS TEXT, upper and so on. NULL stays null. */
export function textForm(value: Value): string | null {
  if (isNull(value)) return null
  if (typeof value === 'string') return value
  return typeof value === 'object' ? utf8.decode(value) : String(value)
}

/** Bytes of a BLOB, or of the UTF-8 of the text form. */
export function byteForm(value: Exclude<Value, null | undefined>): Uint8Array {
  return typeof value === 'object' ? value : encoder.encode(String(value))
}

/** The integer of a sign and digits. Throws EvaluationFailure for very many: making it takes more than linear time. */
export function integerOf(text: string): bigint {
  if (text.length > MAX_INTEGER_DIGITS) throw new EvaluationFailure(`an integer of more than ${MAX_INTEGER_DIGITS} digits`)
  return BigInt(text.replace('+', ''))
}

const numericPrefix = /^\s*([+-]?(?:\d+(\.\d*)?|(\.\d+))([eE][+-]?\d+)?)/

/** Numeric form for arithmetic and CAST AS NUMERIC: the longest numeric prefix, 0 without one. */
export function numericForm(value: Value): bigint | number | null {
  if (isNull(value)) return null
  if (typeof value === 'bigint' || typeof value === 'number') return value
  const found = numericPrefix.exec(textForm(value) ?? '')
  if (!found || found[1] === undefined) return 0n
  const real = found[2] !== undefined || found[3] !== undefined || found[4] !== undefined
  return real ? Number(found[1]) : integerOf(found[1])
}

/** Numeric form as REAL; many digits are no matter there. */
export function realForm(value: Value): number | null {
  if (isNull(value)) return null
  return typeof value === 'bigint' || typeof value === 'number'
    ? Number(value)
    : Number(numericPrefix.exec(textForm(value) ?? '')?.[1] ?? 0)
}

const integerPrefix = /^\s*([+-]?\d+)/

/** CAST AS INTEGER: leading digits of TEXT, floor of REAL, without limit. */
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

/** An object or array as element of an array that makes keys: in the key it stands as JSON, so it equals no text. Elsewhere it is bytes. */
export class NestedJson extends Uint8Array {
  readonly json: string

  constructor(json: string) {
    super(0)
    this.json = json
  }
}

/**
 * A value as part of a bucket or lookup key, in JSON. Equal text = equal key. undefined = cannot be a key: a BLOB, NaN and the infinities, which
 * JSON would print as null. A client can send such a number, as 1e999.
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

/** A value in the JSON that clients store, or undefined when it is left out (missing columns and BLOBs). */
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
