import type { WaitOptions } from '../../types.ts'
import { ProblemError } from '../problem.ts'
import type { DatabasePort } from './port.ts'
import type { DatabaseStatus } from './status.ts'

/** Resolves when the status, or that of a stream, is as wanted. Rejects by signal and timeout, and with `closed`. */
export function until(
  db: Pick<DatabasePort, 'on' | 'status'>,
  reached: (status: DatabaseStatus) => boolean,
  { signal, timeout }: WaitOptions = {},
): Promise<void> {
  const over = Promise.withResolvers<void>()
  const look = (status: DatabaseStatus): void => {
    if (reached(status)) over.resolve()
    else if (status.state === 'closed') over.reject(closed())
  }
  const offs = [db.on('status', look), db.on('streams', () => look(db.status))]
  const stop = (): void => over.reject(signal?.reason)
  const timer =
    timeout === undefined
      ? undefined
      : setTimeout(() => over.reject(new ProblemError('timeout', 'it took too long')), timeout)
  signal?.addEventListener('abort', stop)
  if (signal?.aborted) stop()
  look(db.status)
  return over.promise.finally(() => {
    for (const off of offs) off()
    clearTimeout(timer)
    signal?.removeEventListener('abort', stop)
  })
}

export const closed = (why = 'the database is closed'): ProblemError => new ProblemError('closed', why)
