import { type Element } from './environment.ts'
import type { Json } from './json.ts'
import { jsonText } from './json.ts'
import { jsonOf, sqlValue, valid } from './paths.ts'
import { bool, EvaluationFailure, isNull, NestedJson, type Value } from './values.ts'

/**
 * How the elements of an array are read. `keys`: the right side of IN, which must be a JSON array. Numbers are exact.
 * true and false make no key, because they are not the numbers 1 and 0. `array`: the same, but true and false are 1 and
 * 0, as in `array && (SELECT …)`. Stored plans of older versions use it for every array of a row. `request-array`: an
 * array of the request. null makes no key either, because NULL equals nothing. `request-list`: the same, and text that
 * is not JSON has no elements. `request-array-nulls`: an array of the request in which null equals NULL, as in the
 * reference. `each`: json_each, which also reads objects and scalars, and reads numbers as JavaScript does.
 * `each-null-text`: the same, but JSON null is the text `null` (edition 1).
 */
export type Walk =
  'array' | 'keys' | 'request-array' | 'request-list' | 'request-array-nulls' | 'each' | 'each-null-text'

export function walk(value: Value, how: Walk): Element[] {
  if (isNull(value)) return []
  if (how !== 'each' && how !== 'each-null-text') {
    const ofRequest = how !== 'array' && how !== 'keys'
    if (ofRequest && typeof value !== 'string') return []
    if ((how === 'request-list' || how === 'request-array-nulls') && valid(value) !== 1n) return []
    const items = how === 'array' ? arrayOf(value) : arrayOf(value, ofRequest).filter((item) => makesKey(item, how))
    return items.map((item, i) => ({ key: BigInt(i), value: keyElement(item) }))
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

const makesKey = (item: Json, how: Walk): boolean =>
  typeof item !== 'boolean' && !(item === null && (how === 'request-array' || how === 'request-list'))

const keyElement = (item: Json): Value =>
  typeof item === 'object' && item !== null ? new NestedJson(jsonText(item)) : sqlValue(item)

/**
 * Parses a JSON array. Throws EvaluationFailure when the text is not one. For a request, another kind of array counts
 * as no array.
 */
export function arrayOf(value: Value, ofRequest = false): Json[] {
  if (typeof value !== 'string') throw new EvaluationFailure('IN: the right side is not a JSON array')
  const json = jsonOf(value)
  if (Array.isArray(json)) return json
  if (ofRequest) return []
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

/** Makes whole numbers INTEGER, however they are written. */
const jsNumber = (value: number): Value => (Number.isInteger(value) ? BigInt(value) : value)

function throughNumbers(item: Json): unknown {
  if (typeof item === 'bigint') return Number(item)
  if (Array.isArray(item)) return item.map(throughNumbers)
  if (item !== null && typeof item === 'object')
    return Object.fromEntries(Object.entries(item).map(([k, v]) => [k, throughNumbers(v)]))
  return item
}
