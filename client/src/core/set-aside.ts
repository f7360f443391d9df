import type { SyncProblem } from '../types.ts'
import { ProblemError } from './problem.ts'

/**
 * So many damaged databases are kept. When there is one more, something is wrong with the device, and none of them is
 * deleted for it.
 */
export const KEPT_CORRUPT = 3

/** Told as long as the file is there: it may hold writes that were never sent. */
export function setAsideProblem(name: string | undefined): SyncProblem | null {
  if (name === undefined) return null
  return {
    code: 'storage_corrupt',
    message: `the local database was damaged; it is kept as ${name}, and a new one was begun`,
  }
}

export const tooManyCorrupt = (name: string): ProblemError =>
  new ProblemError(
    'storage_corrupt',
    `${name} is damaged, and ${KEPT_CORRUPT} damaged databases are kept already: move them away`,
  )
