import { dateTime, unixEpoch } from './dates.ts'
import { asGeoJson, asText, ordinate } from './geometry.ts'
import { arrayLength, extract, keys, valid } from './paths.ts'
import { byteForm, castInteger, EvaluationFailure, isNull, textForm, truth, type Value } from './values.ts'

export interface SqlFunction {
  /** The smallest and largest number of arguments. */
  arity: readonly [number, number]
  evaluate(args: readonly Value[]): Value
}

const text =
  (f: (s: string) => Value) =>
  ([x]: readonly Value[]): Value => {
    const s = textForm(x)
    return s === null ? null : f(s)
  }

const hexadecimal = (bytes: Uint8Array): string => Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('')

const uuid =
  /^(?:[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}|0{8}-0{4}-0{4}-0{4}-0{12}|f{8}-f{4}-f{4}-f{4}-f{12})$/i

function length(x: Value): Value {
  if (isNull(x)) return null
  return BigInt(x instanceof Uint8Array ? x.length : String(x).length)
}

/**
 * `from` is 1-based, in UTF-16 units; 0 is the place before the first. A negative length takes the characters before
 * the start.
 */
function substring([x, from, count]: readonly Value[], hasCount: boolean): Value {
  const s = textForm(x)
  if (s === null || isNull(from) || (hasCount && isNull(count))) return null
  const start = whole(from)
  const length = hasCount ? whole(count) : Infinity
  let begin = start > 0 ? start - 1 : start < 0 ? Math.max(0, s.length + start) : -1
  let end = begin + length
  if (length < 0) [begin, end] = [end, begin]
  return s.slice(Math.max(0, begin), Math.max(0, end))
}

/** Converts to an integer. A fraction is truncated, and text counts as the integer with which it begins. */
const whole = (value: Value): number => {
  if (typeof value === 'number') return Number.isNaN(value) ? 0 : Math.trunc(value)
  return Number(castInteger(value) ?? 0)
}

function instr([x, y]: readonly Value[]): Value {
  if (isNull(x) || isNull(y)) return null
  if (x instanceof Uint8Array && y instanceof Uint8Array) {
    for (let i = 0; i + y.length <= x.length; i++) if (y.every((b, k) => x[i + k] === b)) return BigInt(i + 1)
    return 0n
  }
  return BigInt((textForm(x) ?? '').indexOf(textForm(y) ?? '') + 1)
}

function base64(bytes: Uint8Array): string {
  let binary = ''
  for (const byte of bytes) binary += String.fromCharCode(byte)
  return btoa(binary)
}

function uuidBlob([x]: readonly Value[]): Value {
  if (isNull(x)) return null
  const s = textForm(x) ?? ''
  if (!uuid.test(s)) throw new EvaluationFailure(`uuid_blob: ${JSON.stringify(s.slice(0, 60))} is not a UUID`)
  const digits = s.replaceAll('-', '')
  return Uint8Array.from({ length: 16 }, (_, i) => Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16))
}

function typeOf(x: Value): string {
  if (isNull(x)) return 'null'
  if (x instanceof Uint8Array) return 'blob'
  return typeof x === 'bigint' ? 'integer' : typeof x === 'number' ? 'real' : 'text'
}

const fn = (least: number, most: number, evaluate: (args: readonly Value[]) => Value): SqlFunction => ({
  arity: [least, most],
  evaluate,
})

/**
 * The functions of the language by their lower-case names. Forms of edition 1 end in `_1` and cannot be written in SQL.
 */
export const functions: ReadonlyMap<string, SqlFunction> = new Map([
  [
    'upper',
    fn(
      1,
      1,
      text((s) => s.toUpperCase()),
    ),
  ],
  [
    'lower',
    fn(
      1,
      1,
      text((s) => s.toLowerCase()),
    ),
  ],
  ['length', fn(1, 1, ([x]) => length(x))],
  ['substring', fn(2, 3, (args) => substring(args, args.length > 2))],
  ['instr', fn(2, 2, instr)],
  ['hex', fn(1, 1, ([x]) => (isNull(x) ? '' : hexadecimal(byteForm(x)).toUpperCase()))],
  ['base64', fn(1, 1, ([x]) => (isNull(x) ? '' : base64(byteForm(x))))],
  ['uuid_blob', fn(1, 1, uuidBlob)],
  ['typeof', fn(1, 1, ([x]) => typeOf(x))],
  ['ifnull', fn(2, Infinity, ([a, b]) => (isNull(a) ? b : a))],
  ['iif', fn(3, 3, ([c, a, b]) => (truth(c) ? a : b))],
  ['json_extract', fn(2, Infinity, ([json, path]) => extract(json, path, true))],
  ['json_extract_1', fn(2, Infinity, ([json, path]) => extract(json, path, false))],
  ['json_array_length', fn(1, 2, (args) => arrayLength(args[0], args[1], args.length > 1))],
  ['json_keys', fn(1, 1, ([x]) => keys(x))],
  ['json_valid', fn(1, 1, ([x]) => valid(x))],
  ['unixepoch', fn(1, Infinity, unixEpoch)],
  ['datetime', fn(1, Infinity, dateTime)],
  ['st_asgeojson', fn(1, 1, ([x]) => asGeoJson(x))],
  ['st_astext', fn(1, 1, ([x]) => asText(x))],
  ['st_x', fn(1, 1, ([x]) => ordinate(x, 0))],
  ['st_y', fn(1, 1, ([x]) => ordinate(x, 1))],
])
