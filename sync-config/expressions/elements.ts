import { type Element } from './environment.ts'
import type { Json } from './json.ts'
import { jsonText } from './json.ts'
import { jsonOf, sqlValue } from './paths.ts'
import { bool, EvaluationFailure, isNull, NestedJson, type Value } from './values.ts'

/**
 * How an array is walked. `array`: the right side of IN, which must be a JSON array; numbers exact. `each`: json_each, which also
 * walks objects and scalars and reads numbers as JavaScript does; `each-null-text` gives JSON null as the text `null` (edition 1).
 */
export type Walk = 'array' | 'request-array' | 'each' | 'each-null-text'

export function walk(value: Value, how: Walk): Element[] {
  if (isNull(value)) return []
  if (how === 'array' || how === 'request-array') {
    if (how === 'request-array' && typeof value !== 'string') return []
    return arrayOf(value, how).map((item, i) => ({ key: BigInt(i), value: keyElement(item) }))
  }
  if (typeof value !== 'string') throw new EvaluationFailure('json_each: the argument is not JSON text')
  const json = jsonOf(value)
  const nullText = how === 'each-null-text'
  if (Array.isArray(json)) return json.map((item, i) => ({ key: BigInt(i), value: eachValue(item, nullText) }))
  if (json !== null && typeof json === 'object') {
    return Object.entries(json).map(([key, item]) => ({ key, value: eachValue(item, nullText) }))
  }
  return [{ key: null, value: eachValue(json, nullText) }]
}

const keyElement = (item: Json): Value => (typeof item === 'object' && item !== null ? new NestedJson(jsonText(item)) : sqlValue(item))

/** A JSON array in text. Throws EvaluationFailure unless it is one; for a request an array of another kind is no array at all. */
export function arrayOf(value: Value, how: Walk = 'array'): Json[] {
  if (typeof value !== 'string') throw new EvaluationFailure('IN: the right side is not a JSON array')
  const json = jsonOf(value)
  if (Array.isArray(json)) return json
  if (how === 'request-array') return []
  throw new EvaluationFailure('IN: the right side is JSON, but not an array')
}

function eachValue(item: Json, nullText: boolean): Value {
  switch (typeof item) {
    case 'bigint':
    case 'number':
      return jsNumber(Number(item))
    case 'boolean':
      return bool(item)
    case 'string':
      return item
    default:
      return item === null ? (nullText ? 'null' : null) : jsonText(throughNumbers(item))
  }
}

/** Whole numbers become INTEGER, whatever their spelling was. */
const jsNumber = (value: number): Value => (Number.isInteger(value) ? BigInt(value) : value)

function throughNumbers(item: Json): unknown {
  if (typeof item === 'bigint') return Number(item)
  if (Array.isArray(item)) return item.map(throughNumbers)
  if (item !== null && typeof item === 'object') return Object.fromEntries(Object.entries(item).map(([k, v]) => [k, throughNumbers(v)]))
  return item
}
