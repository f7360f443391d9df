import { RockpoolError } from '../protocol/errors.ts'
import type { Call } from './source.ts'

/** The longest delay of `setTimeout`, about 25 days. A longer one fires at once. */
const LONGEST_MS = 2 ** 31 - 1

/**
 * Returns the answer of a call if it comes in time. Otherwise it calls `close`, so that nothing of the call continues,
 * and rejects with ROCKPOOL_SOURCE_UNREACHABLE; a later answer is discarded. It also rejects when the signal is
 * aborted; then the code that aborts closes the connection. `work` is passed a function that stops the clock (true) and
 * restarts it (false) around a wait for somebody else.
 */
export async function inTime<T>(
  who: string,
  { signal, deadlineMs }: Call,
  close: () => void,
  work: (others: (wait: boolean) => void) => Promise<T>,
): Promise<T> {
  const over = Promise.withResolvers<never>()
  const aborted = () => over.reject(unreachable('the session is over'))
  const late = () => {
    close()
    over.reject(unreachable(`${who} did not answer for ${deadlineMs / 1_000} s`))
  }
  if (signal.aborted) throw unreachable('the session is over')
  let timer: ReturnType<typeof setTimeout> | undefined
  const others = (wait: boolean) => {
    clearTimeout(timer)
    if (!wait) timer = setTimeout(late, Math.min(deadlineMs, LONGEST_MS))
  }
  signal.addEventListener('abort', aborted)
  others(false)
  try {
    return await Promise.race([work(others), over.promise])
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', aborted)
  }
}

const unreachable = (reason: string) => new RockpoolError('ROCKPOOL_SOURCE_UNREACHABLE', reason)
