import { sleep } from '../../protocol/sleep.ts'

// Calls between objects, and from Workers to objects. A callee may die without an answer, hang in a call of its own, or wait for slow storage: the
// platform ends none of these calls by itself (workerd 2026-10-23), so each attempt has a deadline here, and the next one has a new stub.

/** `CALL_SECONDS` when nothing else is said. */
export const CALL_SECONDS = 30
/** A session of 13 minutes, and three such waits at its end, stay below the 15 minutes of an alarm. */
export const MAX_CALL_SECONDS = 35
/** An overloaded object gets worse by being asked again soon. */
const OVERLOADED_FACTOR = 10
const MAX_DOUBLINGS = 20

/** The deadline of one call, in ms. A value that is not valid counts as missing here: `tenantSettings` refuses it by name. */
export function callDeadline({ CALL_SECONDS: given }: { CALL_SECONDS?: string | number | object }): number {
  const seconds = Number(given ?? CALL_SECONDS)
  return (seconds > 0 && seconds <= MAX_CALL_SECONDS ? seconds : CALL_SECONDS) * 1_000
}

/** One attempt, as the call sees it. `expired`: nobody waits for its result any more. */
export interface Attempt {
  readonly expired: boolean
}

/** Thrown when a call was not answered in time. The callee may still do what it was asked for. */
export class Unanswered extends Error {
  override readonly name = 'Unanswered'
}

/** `T`: a timer. */
export interface Timers<T> {
  set(fire: () => void, milliseconds: number): T
  clear(timer: T): void
}
const TIMERS: Timers<unknown> = {
  set: (fire, milliseconds) => setTimeout(fire, milliseconds),
  clear: (timer) => clearTimeout(timer as ReturnType<typeof setTimeout>),
}

/** The answer of one call. Rejects with `Unanswered` after `deadlineMs`; what comes later is thrown away. */
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
  /** Of each attempt, in ms: see `callDeadline`. */
  deadlineMs: number
  /** The pause after the first failure, in ms, doubled up to `maxMs`; each ± 50 %. */
  firstMs: number
  maxMs: number
  /** Called before each attempt. What it throws ends the waiting. */
  begin?: () => void
  /** Waited for before each attempt, however long it takes; what it answers is called behind the attempt, before the pause. */
  turn?: () => Promise<() => void>
  /** Called after each failure; `attempts` counts from 1. What it throws ends the waiting. */
  failed?: (error: unknown, attempts: number) => void
  /** Ends a pause early. */
  signal?: AbortSignal
}

/**
 * Repeats a call until it is answered. Only for what may be done twice: a call that failed or expired may have been carried out. The call must take a
 * new stub each time, because one whose object was reset stays broken. With `wanted`, null as soon as that is false.
 */
export function untilAnswered<T>(call: (attempt: Attempt) => Promise<T>, retry: Retry & { wanted: () => boolean }): Promise<T | null>
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
      // The turn may have come late.
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

/** `untilAnswered` for as long as something is wanted, with the deadline that holds where it is done. */
export type Repeat = <T>(
  call: (attempt: Attempt) => Promise<T>,
  retry: Omit<Retry, 'deadlineMs'> & { wanted: () => boolean },
) => Promise<T | null>

/** The pause after `attempts` failures. */
export function waitMs(
  { firstMs, maxMs }: Pick<Retry, 'firstMs' | 'maxMs'>,
  attempts: number,
  error?: unknown,
  random: () => number = Math.random,
): number {
  const overloaded = error instanceof Error && 'overloaded' in error && error.overloaded === true
  const wait = Math.min(firstMs * 2 ** Math.min(attempts - 1, MAX_DOUBLINGS), maxMs) * (overloaded ? OVERLOADED_FACTOR : 1)
  return wait * (0.5 + random())
}
