import { retryWaitMs } from './schedule.ts'

/**
 * How carefully changes are taken in. 0: in whole slices. 1: in slices of `CAREFUL_CHANGES`. 2: one by one, each noted
 * before it is tried.
 */
export type CareLevel = 0 | 1 | 2

/** The number of sessions that may crash at one place before the next one is more careful. */
export const TRIES = 3

/** What is known of a session. It is stored before the session begins, so that the next one knows of a crash. */
export interface Attempt {
  /** False when the session ended by an error of ours, and not by a crash. */
  alive: boolean
  /** The number of sessions in a row that made no progress, this one included. */
  starts: number
  /** The same, counted since `care` has changed. */
  tries: number
  /** How far the stream was taken in, and how far the copy was, when it began. */
  stream: string
  copy: string
  care: CareLevel
  /** If this session crashes, the next one does not begin before this. In ms since 1970. */
  until: number
  /** Why the session before it ended; null when that is not known. */
  reason: string | null
}

export interface Beginning {
  stream: string
  /** Empty when nothing is being copied. */
  copy: string
  now: number
  reason: string | null
}

/** An earlier version stored only whether a session runs, before each one that does not follow a crash. */
export const isOfOlder = (stored: Attempt | boolean | null): stored is boolean => typeof stored === 'boolean'

/** Returns what is known of the last session, whichever version has stored it; null when it ended normally. */
export function attemptOf(stored: Attempt | boolean | null): Attempt | null {
  if (!isOfOlder(stored)) return stored
  if (!stored) return null
  return { alive: true, starts: 1, tries: 1, stream: '', copy: '', care: 0, until: 0, reason: null }
}

/**
 * Returns what is stored of the session that begins now. `before` is the last one, or null when it ended normally. The
 * back-off after a crash counts from the beginning of that session, because its end is not known. A step forward does
 * not end the care: the change that kills may be only a few changes further on.
 */
export function nextAttempt(before: Attempt | null, at: Beginning, random?: () => number): Attempt {
  const { stream, copy, now, reason } = at
  const stuck = before !== null && (before.stream === stream || (copy !== '' && before.copy === copy))
  const starts = stuck ? before.starts + 1 : 1
  let care = before?.care ?? 0
  let tries = stuck ? before.tries + 1 : 1
  if (tries > TRIES && care < 2) {
    care = care === 0 ? 1 : 2
    tries = 1
  }
  return { alive: true, starts, tries, stream, copy, care, until: now + retryWaitMs(starts, random), reason }
}
