/** Levels of objects and lists in a request, and in the claims of a token. */
export const MAX_JSON_DEPTH = 100
/** Values in a request, lists and objects included: 10,000 buckets of a client are 30,000. */
export const MAX_JSON_VALUES = 100_000

/**
 * Which bound a value passes that somebody sent, null when it passes none. One pass that keeps nothing: a list of all values of a level would be many times as
 * large as what was sent. It stops at the first value too many.
 */
export function passedBound(value: unknown): string | null {
  let values = 0
  const pass = (each: unknown, depth: number): string | null => {
    if (depth > MAX_JSON_DEPTH) return `is nested more than ${MAX_JSON_DEPTH} levels deep`
    if (++values > MAX_JSON_VALUES) return `has more than ${MAX_JSON_VALUES} values`
    return inside(each, (member) => pass(member, depth + 1))
  }
  return pass(value, 0)
}

/**
 * Where the first number stands that a parser may have rounded: a whole one of 2^53 or more, which another one is read as as well. Null when there is none. A
 * value that was not passed by `passedBound` may be too deep for it.
 */
export function inexactNumber(value: unknown): PropertyKey[] | null {
  if (typeof value === 'number') return Number.isInteger(value) && !Number.isSafeInteger(value) ? [] : null
  // What the BSON library makes of 64 bits that do not fit into a number.
  if (typeof value === 'bigint' || (typeof value === 'object' && value !== null && '_bsontype' in value && value._bsontype === 'Long'))
    return []
  return inside(value, (member, key) => {
    const path = inexactNumber(member)
    return path && [key, ...path]
  })
}

/** Asks about the members of a list or an object until there is an answer. Bytes have none. */
function inside<T>(value: unknown, ask: (member: unknown, key: PropertyKey) => T | null): T | null {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return null
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const answer = ask(value[i], i)
      if (answer !== null) return answer
    }
    return null
  }
  const members: Record<string, unknown> = value as Record<string, unknown>
  for (const key in members) {
    const answer = ask(members[key], key)
    if (answer !== null) return answer
  }
  return null
}

/** `streams.subscriptions[0].stream` */
export function pathText(path: readonly PropertyKey[]): string {
  return path.map((part, i) => (typeof part === 'number' ? `[${part}]` : i === 0 ? String(part) : `.${String(part)}`)).join('')
}
