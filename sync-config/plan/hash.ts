import { hash64 } from '../../protocol/hash.ts'
import type { Plan } from '../types.ts'
import { contentOf, PLAN_VERSION } from './plan.ts'

/**
 * Returns 128 bits as 32 hexadecimal digits: two differently prefixed 64-bit hashes of the content's canonical JSON.
 */
export const contentHash = (content: unknown): string => textHash(contentText(content))

/** Returns canonical JSON. */
export const contentText = (content: unknown): string => JSON.stringify(sorted(content))

export const textHash = (text: string): string => hash64(`a${text}`) + hash64(`b${text}`)

/** Sorts keys, so that the order in which an object was built does not matter. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
      .map(([key, member]) => [key, sorted(member)]),
  )
}

/** Returns the hash of the plan's content. Equal plans have equal hashes. */
export const planHash = (plan: Plan): string => contentHash(plan)

/** Parses the JSON form. Throws Error when it is not a plan of this schema version. */
export function parsePlan(json: string): Plan {
  const value: unknown = JSON.parse(json)
  if (typeof value !== 'object' || value === null || !('version' in value)) throw new Error('this JSON is not a plan')
  const plan: Plan = { ...value, version: Number(value.version) || 0 }
  contentOf(plan)
  return plan
}

export { PLAN_VERSION }
