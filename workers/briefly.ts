/** So long an isolate does not ask the same again. */
export const BRIEFLY_MS = 1_000

/**
 * Remembers an answer for a second: what many clients ask is one call of the one replicator then. Only answers that have come are shared, because a call belongs to
 * the request that made it. By the namespace, which there is one of in an isolate, and the tenant.
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
