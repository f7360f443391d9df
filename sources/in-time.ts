import { RockpoolError } from '../protocol/errors.ts'
import type { Call } from './source.ts'

/** The longest timer that there is, about 25 days: a longer one fires at once. */
const LONGEST_MS = 2 ** 31 - 1

/**
 * The answer of a call, if it comes in time. Else `close` is called, so that nothing of it goes on, and this rejects with ROCKPOOL_SOURCE_UNREACHABLE; what comes later
 * is thrown away. When the signal is aborted it rejects as well, and whoever aborts closes. `work` is given what stops the clock (true) and sets it anew (false), for as long as others are waited for.
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
