import type { ReplicationSettings } from '../../../tenants/replication.ts'
import { longestBackOffMs } from '../../shared/fault-points.ts'

const FIRST_RETRY_MS = 500
const MAX_RETRY_MS = 60_000
const MAX_DOUBLINGS = 20

/**
 * Returns the pause, in ms, until the next poll when no client is connected and `polls` polls before this one found
 * nothing. `slotTimeoutMs` is the time after which Postgres removes an unused slot, or 0 for never.
 */
export function idleWaitMs(
  polls: number,
  settings: Pick<ReplicationSettings, 'idlePollSeconds' | 'idlePollMaxSeconds'>,
  slotTimeoutMs: number,
): number {
  const wait =
    Math.min(settings.idlePollSeconds * 2 ** Math.min(polls, MAX_DOUBLINGS), settings.idlePollMaxSeconds) * 1_000
  return slotTimeoutMs > 0 ? Math.min(wait, slotTimeoutMs / 2) : wait
}

/** Returns the pause, in ms, after a session that failed as the `failures`th in a row, ± 25 %. */
export function retryWaitMs(failures: number, random: () => number = Math.random): number {
  const longest = Math.min(MAX_RETRY_MS, longestBackOffMs())
  return Math.min(FIRST_RETRY_MS * 2 ** Math.min(failures - 1, MAX_DOUBLINGS), longest) * (0.75 + random() / 2)
}
