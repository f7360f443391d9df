import type { SyncProblem } from '../types.ts'

/** An error with a stable code: the server's, or `network`, `auth`, `checksum`, `protocol`, `storage`. */
export class ProblemError extends Error {
  override readonly name = 'ProblemError'
  readonly code: string

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

export function problemOf(error: unknown, otherwise = 'network'): SyncProblem {
  const message = error instanceof Error ? error.message : String(error)
  return { code: error instanceof ProblemError ? error.code : otherwise, message }
}

/** Waits; returns early when `signal` is aborted. */
export function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds)
    signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true })
  })
}

/** Full jitter: clients that lost the same server do not come back together. */
export function backoff(attempt: number): number {
  return Math.min(30_000, 500 * 2 ** Math.min(attempt - 1, 10)) * (0.5 + Math.random() / 2)
}
