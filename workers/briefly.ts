/** How long an isolate keeps an answer. */
export const BRIEFLY_MS = 1_000

/**
 * Keeps an answer for a second, so that the same question from many clients is one call to the one replicator. Only
 * complete answers are shared, because a call belongs to the request that made it. The key is the namespace, of which
 * an isolate has one, and the tenant.
 */
export function briefly<K extends object, T>(
  worthKeeping: (value: T) => boolean = () => true,
  now: () => number = Date.now,
): (of: K, tenant: string, call: () => Promise<T>) => Promise<T> {
  const known = new WeakMap<K, Map<string, { value: T; until: number }>>()
  return async (of, tenant, call) => {
    const answers = known.get(of) ?? new Map<string, { value: T; until: number }>()
    known.set(of, answers)
    const last = answers.get(tenant)
    if (last && last.until > now()) return last.value
    answers.delete(tenant)
    const value = await call()
    if (worthKeeping(value)) answers.set(tenant, { value, until: now() + BRIEFLY_MS })
    return value
  }
}
