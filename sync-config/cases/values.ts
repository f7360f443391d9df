import type { DeferredValue, SourceRow, SourceValue, ValueOptions } from '../../protocol/values.ts'
import { jsonText, type Json, type JsonObject } from '../expressions/json.ts'
import { EvaluationFailure } from '../expressions/values.ts'

export const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** The columns of a case's `record`, in which values without a JSON form are objects such as `{"$blob": "ff00"}`. */
export const recordOf = (record: JsonObject): SourceRow =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [name, columnOf(value)]))

function columnOf(value: Json): SourceValue {
  if (typeof value === 'boolean') return value ? 1n : 0n
  if (isObject(value)) {
    const special = specialOf(value)
    if (special !== null) return special.value
  }
  if (typeof value !== 'object' || value === null) return value
  const text = nestedText(value)
  return hasDeferred(value) ? { resolve: (options) => nestedText(value, options) } : text
}

function specialOf(value: JsonObject): { value: SourceValue } | null {
  const [entry, ...more] = Object.entries(value)
  if (!entry || more.length > 0) return null
  const [kind, content] = entry
  switch (kind) {
    case '$blob':
      return { value: bytesOf(String(content)) }
    case '$real':
      return { value: Number(content) }
    case '$int':
      return { value: BigInt(String(content)) }
    case '$json':
      return { value: String(content) }
    case '$undefined':
      return { value: undefined }
    case '$time':
      return { value: { resolve: (options) => timeText(String(content), options) } }
    case '$timestamp':
    case '$timestamptz':
      return { value: timestamp(content) }
    default:
      return null
  }
}

const bytesOf = (hex: string): Uint8Array =>
  Uint8Array.from({ length: hex.length / 2 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16))

function timestamp(forms: Json | undefined): DeferredValue {
  const [iso, legacy] = Array.isArray(forms) ? forms : [forms, forms]
  // A value without an old form (infinity) keeps its ISO form.
  return {
    resolve: (options) => (options.timestampsIso8601 ? withDigits(String(iso), options) : String(legacy ?? iso)),
  }
}

const timeText = (text: string, options: ValueOptions): string =>
  options.timestampsIso8601 ? withDigits(text, options) : text

/** Postgres's fractions of a second have six digits in ISO form, or fewer when the option says so; never more. */
function withDigits(text: string, options: ValueOptions): string {
  const digits = Math.min(options.timestampDigits ?? 6, 6)
  return text.replace(
    /^(.*?\d\d:\d\d:\d\d)(?:\.(\d+))?(.*)$/,
    (_, head: string, fraction: string | undefined, tail: string) =>
      digits === 0 ? head + tail : `${head}.${(fraction ?? '').padEnd(digits, '0').slice(0, digits)}${tail}`,
  )
}

const hasDeferred = (value: Json): boolean => /"\$(timestamp|timestamptz|time)"/.test(jsonText(value))

/** The nesting depth of arrays and composites. A json column counts as one value. */
const MAX_LEVELS = 11

/**
 * Returns the text of an array or composite column. Throws EvaluationFailure, which fails the row, when it is nested
 * too deeply.
 */
function nestedText(
  value: Json,
  options: ValueOptions = { timestampsIso8601: true, customPostgresTypes: true },
  level = 1,
): string {
  const nested = Array.isArray(value) || (isObject(value) && !('$json' in value) && !specialOf(value))
  if (nested && level > MAX_LEVELS) throw new EvaluationFailure(`the value is nested deeper than ${MAX_LEVELS} levels`)
  if (Array.isArray(value)) return `[${value.map((item) => nestedText(item, options, level + 1)).join(',')}]`
  if (!isObject(value)) return jsonText(value, { booleansAsNumbers: true })
  if ('$json' in value) return String(value['$json'])
  const special = specialOf(value)
  if (special) return scalarText(special.value, options)
  return `{${Object.entries(value)
    .map(([key, member]) => `${JSON.stringify(key)}:${nestedText(member, options, level + 1)}`)
    .join(',')}}`
}

function scalarText(value: SourceValue, options: ValueOptions): string {
  if (value === undefined || value === null || value instanceof Uint8Array) return 'null'
  return typeof value === 'object' ? scalarText(value.resolve(options), options) : jsonText(value)
}
