import { sleep } from '../../protocol/sleep.ts'
import { isSpendingLimit, SPENDING_RETRY_MS } from '../../protocol/spending.ts'

// Calls between objects, and from Workers to objects. A callee may die without an answer, hang in a call of its own, or
// wait for slow storage. The platform does not end such calls (workerd 2026-10-23), so each attempt has a deadline
// here, and the next attempt uses a new stub.

/** The default of the setting `CALL_SECONDS`. */
export const CALL_SECONDS = 30
/** A session of 13 minutes followed by three such waits stays below the 15 minutes of an alarm. */
export const MAX_CALL_SECONDS = 35
/** Pauses are longer by this factor after an overload, which early retries would make worse. */
const OVERLOADED_FACTOR = 10
const MAX_DOUBLINGS = 20

/**
 * Returns the deadline of one call, in ms. An invalid value counts as missing here: `replicationSettings` refuses it by
 * name.
 */
export function callDeadline({ CALL_SECONDS: given }: { CALL_SECONDS?: string | number | object }): number {
  const seconds = Number(given ?? CALL_SECONDS)
  return (seconds > 0 && seconds <= MAX_CALL_SECONDS ? seconds : CALL_SECONDS) * 1_000
}

/** One attempt, as the call sees it. When `expired` is true, nobody waits for its result any more. */
export interface Attempt {
  readonly expired: boolean
}

/** Thrown when a call was not answered in time. The callee may still carry it out. */
export class Unanswered extends Error {
  override readonly name = 'Unanswered'
}

/** Timers as a port. `T` is the handle of a timer. */
export interface Timers<T> {
  set(fire: () => void, milliseconds: number): T
  clear(timer: T): void
}
const TIMERS: Timers<unknown> = {
  set: (fire, milliseconds) => setTimeout(fire, milliseconds),
  clear: (timer) => clearTimeout(timer as ReturnType<typeof setTimeout>),
}

/** Resolves with the answer of one call. Rejects with `Unanswered` after `deadlineMs`; a later answer is discarded. */
export async function answered<T>(
  call: (attempt: Attempt) => Promise<T>,
  deadlineMs: number,
  timers: Timers<unknown> = TIMERS,
): Promise<T> {
  const attempt = { expired: false }
  let timer: unknown
  const late = new Promise<never>((_, reject) => {
    timer = timers.set(() => {
      attempt.expired = true
      reject(new Unanswered(`there was no answer for ${deadlineMs / 1_000} s`))
    }, deadlineMs)
  })
  try {
    return await Promise.race([call(attempt), late])
  } finally {
    timers.clear(timer)
  }
}

export interface Retry {
  /** The deadline of each attempt, in ms: see `callDeadline`. */
  deadlineMs: number
  /** The pause after the first failure, in ms. It doubles up to `maxMs`, and each pause varies by ± 50 %. */
  firstMs: number
  maxMs: number
  /** Called before each attempt. An error that it throws ends the retries. */
  begin?: () => void
  /**
   * Awaited before each attempt, without a deadline. The function that it returns is called after the attempt, before
   * the pause.
   */
  turn?: () => Promise<() => void>
  /** Called after each failure; `attempts` counts from 1. An error that it throws ends the retries. */
  failed?: (error: unknown, attempts: number) => void
  /** Ends a pause early. */
  signal?: AbortSignal
}

/**
 * Repeats a call until it is answered. Only for calls that may be carried out twice: a call that failed or expired may
 * have been carried out. Each attempt must make a new stub, because a stub whose object was reset stays broken. Returns
 * null as soon as `wanted` returns false.
 */
export function untilAnswered<T>(
  call: (attempt: Attempt) => Promise<T>,
  retry: Retry & { wanted: () => boolean },
): Promise<T | null>
export function untilAnswered<T>(call: (attempt: Attempt) => Promise<T>, retry: Retry): Promise<T>
export async function untilAnswered<T>(
  call: (attempt: Attempt) => Promise<T>,
  retry: Retry & { wanted?: () => boolean },
): Promise<T | null> {
  for (let attempts = 1; retry.wanted?.() ?? true; attempts++) {
    retry.begin?.()
    const leave = retry.turn && (await retry.turn())
    let failure: unknown
    try {
      // `turn` may have waited so long that nobody wants the answer any more.
      if (leave && retry.wanted?.() === false) return null
      return await answered(call, retry.deadlineMs)
    } catch (error) {
      failure = error
    } finally {
      leave?.()
    }
    retry.failed?.(failure, attempts)
    await sleep(waitMs(retry, attempts, failure), retry.signal)
  }
  return null
}

/** `untilAnswered` with the deadline of the part that calls. */
export type Repeat = <T>(
  call: (attempt: Attempt) => Promise<T>,
  retry: Omit<Retry, 'deadlineMs'> & { wanted: () => boolean },
) => Promise<T | null>

/** Returns the pause after `attempts` failures, in ms. */
export function waitMs(
  { firstMs, maxMs }: Pick<Retry, 'firstMs' | 'maxMs'>,
  attempts: number,
  error?: unknown,
  random: () => number = Math.random,
): number {
  const overloaded = error instanceof Error && 'overloaded' in error && error.overloaded === true
  const wait =
    Math.min(firstMs * 2 ** Math.min(attempts - 1, MAX_DOUBLINGS), maxMs) * (overloaded ? OVERLOADED_FACTOR : 1)
  return (isSpendingLimit(error) ? 2 * Math.max(wait, SPENDING_RETRY_MS) : wait) * (0.5 + random())
}
