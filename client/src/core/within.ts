import type { ProblemError } from './problem.ts'

/**
 * What `work` answers; rejects when `signal` is aborted or the time is over. `work` itself may never end: nobody waits
 * for it then.
 */
export async function within<T>(
  work: Promise<T>,
  milliseconds: number,
  late: () => ProblemError,
  signal?: AbortSignal,
): Promise<T> {
  // Nobody may be left to hear of it.
  work.catch(() => {})
  signal?.throwIfAborted()
  const over = Promise.withResolvers<never>()
  const stop = (): void => over.reject(signal?.reason)
  const timer = setTimeout(() => over.reject(late()), milliseconds)
  signal?.addEventListener('abort', stop)
  try {
    return await Promise.race([work, over.promise])
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', stop)
  }
}
