import { MAX_INTEGER_DIGITS } from '../limits.ts'

/**
 * JSON in the sync config language: integers are exact, a number is REAL when it is written with a point or an
 * exponent, and objects have no prototype.
 */
export type Json = null | boolean | bigint | number | string | Json[] | JsonObject
export interface JsonObject {
  [key: string]: Json
}

const space = /[ \t\n\r]*/y
const scalar = /true|false|null|-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y
const string = /"(?:[^"\\\p{Cc}]|[\x7f-\x9f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/uy

/** Thrown for invalid JSON text, and for an object that has a key twice with different values. */
export class JsonError extends Error {
  override readonly name = 'JsonError'
}

/** Parses JSON with exact integers. Throws JsonError. */
export function parseJson(text: string): Json {
  let at = 0
  const skip = (): void => {
    space.lastIndex = at
    space.exec(text)
    at = space.lastIndex
  }
  const fail = (): never => {
    throw new JsonError(`not valid JSON at character ${at + 1}: ${JSON.stringify(text.slice(0, 60))}`)
  }
  const take = (pattern: RegExp): RegExpExecArray => {
    pattern.lastIndex = at
    const found = pattern.exec(text) ?? fail()
    at = pattern.lastIndex
    return found
  }
  const quoted = (): string => String(JSON.parse(take(string)[0]))
  const value = (): Json => {
    skip()
    const c = text[at]
    if (c === '"') return quoted()
    if (c === '{') return object()
    if (c === '[') return array()
    const found = take(scalar)
    const word = found[0]
    if (word === 'true') return true
    if (word === 'false') return false
    if (word === 'null') return null
    if (found[1] !== undefined || found[2] !== undefined) return Number(word)
    if (word.length > MAX_INTEGER_DIGITS) throw new JsonError(`an integer of more than ${MAX_INTEGER_DIGITS} digits`)
    return BigInt(word)
  }
  const array = (): Json[] => {
    at++
    const out: Json[] = []
    skip()
    if (text[at] === ']') return (at++, out)
    for (;;) {
      out.push(value())
      skip()
      const c = text[at++]
      if (c === ']') return out
      if (c !== ',') fail()
    }
  }
  const object = (): JsonObject => {
    at++
    const out: JsonObject = Object.create(null)
    skip()
    if (text[at] === '}') return (at++, out)
    for (;;) {
      skip()
      const key = quoted()
      skip()
      if (text[at++] !== ':') fail()
      const member = value()
      const before = out[key]
      if (before !== undefined && jsonText(before) !== jsonText(member)) {
        throw new JsonError(`the key ${JSON.stringify(key)} appears twice with different values`)
      }
      out[key] = member
      skip()
      const c = text[at++]
      if (c === '}') return out
      if (c !== ',') fail()
    }
  }
  const result = value()
  skip()
  if (at !== text.length) fail()
  return result
}

/**
 * Returns a REAL as JSON, always with a decimal point or exponent. NaN and infinities have no JSON form and become
 * null.
 */
export function realText(value: number): string {
  if (!Number.isFinite(value)) return 'null'
  const text = String(value)
  return Object.is(value, -0) ? '-0.0' : /[.e]/.test(text) ? text : `${text}.0`
}

/** How booleans inside a value are printed. */
export interface JsonStyle {
  /** Print true as `1`. */
  booleansAsNumbers?: boolean
}

/** Returns compact JSON text. Numbers are REAL, bigints INTEGER. */
export function jsonText(value: unknown, style: JsonStyle = {}): string {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value)
    case 'bigint':
      return value.toString()
    case 'number':
      return realText(value)
    case 'boolean':
      return style.booleansAsNumbers ? (value ? '1' : '0') : String(value)
  }
  if (value === null || typeof value !== 'object') return 'null'
  if (Array.isArray(value)) return `[${value.map((item) => jsonText(item, style)).join(',')}]`
  const members = Object.entries(value).filter(([, member]) => member !== undefined)
  return `{${members.map(([key, member]) => `${JSON.stringify(key)}:${jsonText(member, style)}`).join(',')}}`
}
