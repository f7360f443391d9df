import type { SqlValue } from '../types.ts'

// JSON with every digit of an integer: JSON.parse rounds beyond 2^53.

/** The text of a value as it stands in the source (ES2026; in V8 since 11.4). */
type Reviver = (key: string, value: unknown, context?: { source?: string }) => unknown

export function readJson(text: string): unknown {
  const exact: Reviver = (_, value, { source = '' } = {}) =>
    typeof value === 'number' && !Number.isSafeInteger(value) && /^-?\d+$/.test(source) ? BigInt(source) : value
  const value: unknown = JSON.parse(text, exact)
  return value
}

/** A value of an upload as SQLite has it. */
export function storedValue(value: unknown): SqlValue {
  if (typeof value === 'boolean') return value ? 1 : 0
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'bigint' || value === null)
    return value
  return jsonOf(value)
}

export function jsonOf(value: unknown): string {
  if (typeof value === 'bigint') return String(value)
  if (Array.isArray(value)) return `[${value.map(jsonOf).join(',')}]`
  if (typeof value === 'object' && value !== null)
    return `{${Object.entries(value)
      .map(([name, each]) => `${JSON.stringify(name)}:${jsonOf(each)}`)
      .join(',')}}`
  return JSON.stringify(value)
}
