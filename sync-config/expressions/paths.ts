import type { Json } from './json.ts'
import { jsonText, parseJson, JsonError } from './json.ts'
import { bool, EvaluationFailure, isNull, textForm, type Value } from './values.ts'

/** Parses JSON from a row or a request. Throws EvaluationFailure. */
export function jsonOf(value: Value): Json {
  try {
    return parseJson(textForm(value) ?? 'null')
  } catch (error) {
    if (error instanceof JsonError) throw new EvaluationFailure(error.message)
    throw error
  }
}

/** Converts a JSON value to an SQL value: booleans to 1 or 0, nested values to JSON text, null to NULL. */
export function sqlValue(value: Json | undefined): Value {
  switch (typeof value) {
    case 'boolean':
      return bool(value)
    case 'object':
      return value === null ? null : jsonText(value)
    default:
      return value
  }
}

function steps(path: string, splitDots: boolean): string[] {
  if (path === '$') return []
  if (path.startsWith('$.')) return path.slice(2).split('.')
  return splitDots ? path.split('.') : [path]
}

/**
 * Returns the member of a value, or undefined when it has none. Properties work as in JavaScript, in which all editions
 * of the language agree.
 */
function at(value: Json | undefined, key: string): Json | undefined {
  if (Array.isArray(value)) {
    if (key === 'length') return value.length
    return /^(0|[1-9]\d*)$/.test(key) ? value[Number(key)] : undefined
  }
  if (typeof value === 'string') {
    if (key === 'length') return value.length
    return /^(0|[1-9]\d*)$/.test(key) ? value[Number(key)] : undefined
  }
  return value !== null && typeof value === 'object' ? value[key] : undefined
}

/** Names that every JavaScript object has, for which the reference finds something that is not a value. */
const inherited = new Set(Object.getOwnPropertyNames(Object.prototype))

/**
 * `->` (as JSON text) and `->>` (as a value). With `fixed`, dots are part of a name, and JSON null is distinguished
 * from a missing member.
 */
export function arrow(left: Value, right: Value, as: 'json' | 'value', fixed: boolean): Value {
  return isNull(left) || isNull(right) ? null : arrowOf(jsonOf(left), right, as, fixed)
}

/** The same for parsed JSON. */
export function arrowOf(json: Json, right: Value, as: 'json' | 'value', fixed: boolean): Value {
  if (isNull(right)) return null
  let found: Json | undefined = json
  if (typeof right === 'bigint' || typeof right === 'number') {
    found = Array.isArray(found) || typeof found === 'string' ? at(found, String(right)) : undefined
  } else {
    for (const step of steps(textForm(right) ?? '', !fixed)) {
      const next = at(found, step)
      if (next === undefined && inherited.has(step) && found !== null && found !== undefined) return undefined
      found = next
    }
  }
  if (found === undefined) return null
  if (found === null) {
    // In edition 1 a null inside the JSON becomes the text `null`, but a JSON that is null as a whole does not.
    const whole = json === null && as === 'value' && right === '$'
    return fixed === (as === 'json') && !whole ? 'null' : null
  }
  return as === 'json' ? jsonText(found) : sqlValue(found)
}

/** `json_extract(json, path)`, which is `->>` with a path that must begin with `$`. */
export function extract(json: Value, path: Value, fixed: boolean): Value {
  if (isNull(json) || isNull(path)) return null
  const text = textForm(path) ?? ''
  if (!text.startsWith('$'))
    throw new EvaluationFailure(`json_extract: the path ${JSON.stringify(text)} must begin with $`)
  return arrow(json, text, 'value', fixed)
}

/** `json_array_length(json [, path])`. */
export function arrayLength(json: Value, path: Value, hasPath: boolean): Value {
  if (isNull(json)) return null
  if (!hasPath) return lengthOf(jsonOf(json))
  if (isNull(path)) return null
  const inner = arrow(json, textForm(path), 'json', true)
  return isNull(inner) ? null : lengthOf(jsonOf(inner))
}

const lengthOf = (value: Json): Value => (Array.isArray(value) ? BigInt(value.length) : 0n)

/** `json_keys(object)`, with integer-like keys first, as JavaScript orders them. */
export function keys(json: Value): Value {
  if (isNull(json)) return null
  const value = jsonOf(json)
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    throw new EvaluationFailure('json_keys: not a JSON object')
  return JSON.stringify(Object.keys(value))
}

/** `json_valid(text)`. */
export function valid(json: Value): Value {
  if (isNull(json)) return 0n
  try {
    parseJson(textForm(json) ?? '')
    return 1n
  } catch (error) {
    if (error instanceof JsonError) return 0n
    throw error
  }
}
