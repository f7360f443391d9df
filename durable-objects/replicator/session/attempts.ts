import { retryWaitMs } from './schedule.ts'

/** How carefully changes are taken in: whole slices, slices of `CAREFUL_CHANGES`, or one by one, each of them noted before it is tried. */
export type CareLevel = 0 | 1 | 2

/** Sessions that may end by a crash at one place before the next ones are more careful. */
export const TRIES = 3

/** A session, stored when it begins: whatever kills it leaves this, and the next one knows. */
export interface Attempt {
  /** False: it ended by an error of ours, and not by a crash. */
  alive: boolean
  /** Sessions that began one after the other without progress, this one included. */
  starts: number
  /** The same since `care` is as it is. */
  tries: number
  /** How far the stream was taken in, and the copy, when it began. */
  stream: string
  copy: string
  care: CareLevel
  /** When the next one begins at the earliest, if this one ends by a crash. In ms since 1970. */
  until: number
  /** Why the one before it ended, as far as it is known. */
  reason: string | null
}

export interface Beginning {
  stream: string
  /** Empty: nothing is copied. */
  copy: string
  now: number
  reason: string | null
}

/** An earlier version has stored only whether a session runs. It does so before each one that does not follow a crash. */
export const isOfOlder = (stored: Attempt | boolean | null): stored is boolean => typeof stored === 'boolean'

/** What is known of the last session, whoever has stored it; null: it ended as it should. */
export function attemptOf(stored: Attempt | boolean | null): Attempt | null {
  if (!isOfOlder(stored)) return stored
  if (!stored) return null
  return { alive: true, starts: 1, tries: 1, stream: '', copy: '', care: 0, until: 0, reason: null }
}

/**
 * The session that begins now. `before`: the last one, unless it ended as it should. The back-off of a crash counts from when the session began, for
 * that is what is known. Care does not end with a step forward: what kills may be only a few changes further on.
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
