import {
  MAX_VALUE_DEPTH,
  ValueFailure,
  type SourceValue,
  type SqliteValue,
  type ValueOptions,
} from '../../../protocol/values.ts'
import { parseArray, parseComposite, parseMultirange, parseRange, type ArrayItem } from '../wire/literals.ts'
import { dateText, timestampText, timeText } from './timestamps.ts'
import type { ColumnType } from '../types.ts'

/**
 * Converts the text that Postgres prints into the value of a column. A text that is not understood is kept as it is.
 * Only a value that is nested too deeply is an error, and only when it is resolved.
 *
 * integers → INTEGER; float → REAL; bool → 1 or 0; bytea → BLOB; dates, times and custom types by the options of the
 * sync config; arrays →
 * JSON text; numeric, money, uuid, json and everything else → text.
 */
export function decodeValue(type: ColumnType, text: string): SourceValue {
  switch (type.kind) {
    case 'base':
      return base(type.name, text)
    case 'enum':
      return text
    case 'array':
      return deferred((options) => (isRawArray(type, options) ? text : jsonOf(type, text, options, 1).raw))
    case 'domain':
      return deferred((options) =>
        options.customPostgresTypes && type.of ? resolve(decodeValue(type.of, text), options) : text,
      )
    default:
      return deferred((options) => (options.customPostgresTypes ? jsonText(jsonOf(type, text, options, 1)) : text))
  }
}

const deferred = (resolve: (options: ValueOptions) => SqliteValue): SourceValue => ({ resolve })

function resolve(value: SourceValue, options: ValueOptions): SqliteValue {
  if (value === undefined) return null
  if (value !== null && typeof value === 'object' && 'resolve' in value) return value.resolve(options)
  return value
}

function base(name: string, text: string): SourceValue {
  switch (name) {
    case 'int2':
    case 'int4':
    case 'int8':
    case 'oid':
      return /^-?\d+$/.test(text) ? BigInt(text) : text
    case 'float4':
    case 'float8':
      return text === 'NaN' ? Number.NaN : Number(text)
    case 'bool':
      return text === 't' || text === 'true' ? 1n : 0n
    case 'bytea':
      return text.startsWith('\\x') ? new Uint8Array(Buffer.from(text.slice(2), 'hex')) : text
    case 'date':
      return dateText(text)
    case 'time':
      return deferred((options) => timeText(text, options))
    case 'timestamp':
      return deferred((options) => timestampText(text, options, false))
    case 'timestamptz':
      return deferred((options) => timestampText(text, options, true))
    case 'pg_lsn':
      return text
        .split('/')
        .map((half) => half.padStart(8, '0'))
        .join('/')
    default:
      return text
  }
}

/** Without the option, arrays of custom types stay as Postgres prints them. */
function isRawArray(type: ColumnType, options: ValueOptions): boolean {
  const element = type.of?.kind
  return !options.customPostgresTypes && element !== 'base' && element !== 'array'
}

/** A value inside JSON. `raw` is already JSON text. */
type Json = { raw: string }

const literal = (value: string): Json => ({ raw: JSON.stringify(value) })
const jsonText = (json: Json): string => (json.raw.startsWith('"') ? String(JSON.parse(json.raw)) : json.raw)
const NULL: Json = { raw: 'null' }

/** Converts a value to JSON. `depth` is that of the value itself when it is an array or an object. */
function jsonOf(type: ColumnType, text: string, options: ValueOptions, depth: number): Json {
  try {
    return structured(type, text, options, depth)
  } catch (error) {
    if (error instanceof ValueFailure) throw error
    return literal(text)
  }
}

function structured(type: ColumnType, text: string, options: ValueOptions, depth: number): Json {
  const inside = (of: ColumnType | undefined, value: string | null, at = depth + 1): Json =>
    value === null || !of ? NULL : jsonOf(of, value, options, at)
  switch (type.kind) {
    case 'array': {
      const list = (items: ArrayItem[], at: number): Json => {
        checkDepth(at)
        return {
          raw: `[${items.map((item) => (Array.isArray(item) ? list(item, at + 1) : inside(type.of, item, at + 1)).raw).join(',')}]`,
        }
      }
      return list(parseArray(text, type.delimiter), depth)
    }
    case 'composite': {
      checkDepth(depth)
      const values = parseComposite(text)
      const members = (type.attributes ?? []).map(
        (each, i) => `${JSON.stringify(each.name)}:${inside(each.type, values[i] ?? null).raw}`,
      )
      return { raw: `{${members.join(',')}}` }
    }
    case 'range': {
      const range = parseRange(text)
      if (range === 'empty') return literal('empty')
      checkDepth(depth)
      const { lower, upper, lowerExclusive, upperExclusive } = range
      return {
        raw: `{"lower":${inside(type.of, lower).raw},"upper":${inside(type.of, upper).raw},"lower_exclusive":${lowerExclusive ? 1 : 0},"upper_exclusive":${upperExclusive ? 1 : 0}}`,
      }
    }
    case 'multirange': {
      checkDepth(depth)
      const ranges = parseMultirange(text).map((each) => inside(type.of, each).raw)
      return { raw: `[${ranges.join(',')}]` }
    }
    case 'domain':
      return options.customPostgresTypes ? inside(type.of, text, depth) : literal(text)
    case 'enum':
      return literal(text)
    case 'base':
      if (type.name === 'json' || type.name === 'jsonb') return { raw: text }
      return scalar(resolve(base(type.name, text), options))
  }
}

function checkDepth(depth: number): void {
  if (depth > MAX_VALUE_DEPTH)
    throw new ValueFailure(`arrays and objects are nested deeper than ${MAX_VALUE_DEPTH} levels`)
}

function scalar(value: SqliteValue): Json {
  if (value === null || value instanceof Uint8Array) return NULL
  if (typeof value === 'bigint') return { raw: value.toString() }
  if (typeof value === 'number') return { raw: Number.isFinite(value) ? realText(value) : 'null' }
  return literal(value)
}

/** Formats a REAL, which always has a point or an exponent. */
function realText(value: number): string {
  const text = Object.is(value, -0) ? '-0.0' : String(value)
  return /[.e]/.test(text) ? text : `${text}.0`
}
