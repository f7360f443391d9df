import type { Status, SyncDatabase, SyncState, WaitOptions } from '../types.ts'
import { ProblemError } from './problem.ts'

/** The rows of another user are not shown, so they count for nothing. */
export const isOtherUser = (status: SyncState): boolean =>
  status.state === 'needs-auth' && status.error.code === 'other_user'

export const hasSynced = (status: Status): boolean => status.lastSyncedAt !== null && !isOtherUser(status)
export const hasUploaded = (status: Status): boolean => status.pendingWrites === 0 && status.unconfirmedWrites === 0

/** Resolves when the status is as wanted. */
export function waitFor(
  db: Pick<SyncDatabase, 'on' | 'status'>,
  reached: (status: Status) => boolean,
  { signal, timeout }: WaitOptions,
): Promise<void> {
  return new Promise((resolve, reject) => {
    if (reached(db.status)) return resolve()
    signal?.throwIfAborted()
    const done = (finish: () => void): void => {
      clearTimeout(timer)
      off()
      signal?.removeEventListener('abort', given)
      finish()
    }
    const given = (): void => done(() => reject(signal?.reason))
    const off = db.on('status', (status) => {
      if (reached(status)) done(resolve)
      else if (status.state === 'closed') done(() => reject(new ProblemError('closed', 'the database is closed')))
    })
    const timer =
      timeout === undefined ? undefined : setTimeout(() => done(() => reject(new Error('it took too long'))), timeout)
    signal?.addEventListener('abort', given)
  })
}
