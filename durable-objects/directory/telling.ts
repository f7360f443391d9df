import type { RevocationOutcome } from '../../protocol/messages/directory.ts'
import type { RevocationChange } from '../../protocol/messages/replicator.ts'
import { waitMs } from '../shared/retry.ts'
import type { Untold } from './untold.ts'

// How the replicator of a tenant is told of revocations, each in turn. A crash repeats one at most, and each may be
// repeated.

const RETRY = { firstMs: 1_000, maxMs: 60_000 }

export interface TellingPorts {
  untold: Untold
  /** See `ReplicatorRpc.revoke`. Rejects when it is not answered in time. */
  revoke(change: RevocationChange & { number: number }): Promise<{ streams: number }>
  now(): number
}

/** `own`: the change that an operator waits for, which is the last one of this turn. Null: all that wait are told. */
export interface Turn {
  tenant: string
  own: number | null
}

/**
 * Tells what waits. One for which there is no room is told again later, but the operator who waits for it is refused
 * and it is forgotten: rejects with ROCKPOOL_TENANT_CONFLICT. Another failure ends the turn; the rest is due later.
 */
export async function tell({ tenant, own }: Turn, { untold, revoke, now }: TellingPorts): Promise<RevocationOutcome> {
  let streams = 0
  const upTo = own ?? untold.last(tenant)
  for (let next = untold.next(tenant, upTo); next !== null; next = untold.next(tenant, upTo)) {
    const { number, change } = next
    try {
      const answer = await revoke({ ...change, number })
      if (number === own) ({ streams } = answer)
      untold.done(tenant, number)
    } catch (error) {
      if (isFull(error)) {
        if (number !== own) {
          untold.postpone(tenant, next, now())
          continue
        }
        untold.done(tenant, number)
        throw error
      }
      const failures = (untold.failed(tenant)?.failures ?? 0) + 1
      const message = error instanceof Error ? error.message : String(error)
      untold.setFailed(tenant, { failures, error: message, due: now() + waitMs(RETRY, failures) })
      return { streams: 0, told: false, error: message }
    }
  }
  const left = untold.failed(tenant)
  if (left !== null) untold.setFailed(tenant, { ...left, due: now() + RETRY.maxMs })
  return { streams, told: true, error: null }
}

const isFull = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'ROCKPOOL_TENANT_CONFLICT'
