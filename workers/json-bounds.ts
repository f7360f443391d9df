/** Levels of nested objects and lists in a request and in the claims of a token. */
export const MAX_JSON_DEPTH = 100
/** Values in a request, including lists and objects. A client with 10,000 buckets sends 30,000. */
export const MAX_JSON_VALUES = 100_000

/**
 * Returns which bound a received value exceeds, or null. It makes one pass and keeps no lists, which could be many
 * times as large as the value itself. It stops at the first value too many.
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
 * Returns the path of the first number that a parser may have rounded, or null: a whole number of 2^53 or more, which
 * several numbers are read as. Only for a value that is within the bounds of `passedBound`, because others may be
 * nested too deeply.
 */
export function inexactNumber(value: unknown): PropertyKey[] | null {
  if (typeof value === 'number') return Number.isInteger(value) && !Number.isSafeInteger(value) ? [] : null
  // The BSON library returns a Long for 64 bits that do not fit into a number.
  if (
    typeof value === 'bigint' ||
    (typeof value === 'object' && value !== null && '_bsontype' in value && value._bsontype === 'Long')
  )
    return []
  return inside(value, (member, key) => {
    const path = inexactNumber(member)
    return path && [key, ...path]
  })
}

/** Calls for each member of a list or an object until one returns a result. Bytes have no members. */
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
  return path
    .map((part, i) => (typeof part === 'number' ? `[${part}]` : i === 0 ? String(part) : `.${String(part)}`))
    .join('')
}
