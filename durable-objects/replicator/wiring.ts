import { bucketObjectName } from '../../protocol/names.ts'
import type { Environment } from '../environment.ts'
import { CLOCK } from '../shared/clock.ts'
import { durableDatabase } from '../shared/durable-database.ts'
import { bucketStub } from '../shared/namespaces.ts'
import { callDeadline } from '../shared/retry.ts'
import { connectRelay, openStreams } from './commit/relay-connection.ts'
import { makeParts, type Parts } from './parts.ts'
import { resetOf, takeResetReason } from './reset.ts'

/** The parts of a replicator, with what they need of the runtime. */
export interface Wired extends Parts {
  /** Returns the rows written as the platform bills them, since this object started. */
  rowsWritten(): number
  /** Returns the number of open streams of clients. */
  openStreams(deadlineMs?: number): Promise<number>
  /** Why the last incarnation was ended, or null when this isolate does not know. */
  readonly resetReason: string | null
}

/** Makes the parts of the replicator of a tenant over the storage of its object. Throws ROCKPOOL_STORAGE_NEWER. */
export function wire(ctx: DurableObjectState, env: Environment, tenant: string): Wired {
  const db = durableDatabase(ctx.storage)
  const resetReason = takeResetReason(tenant)
  const parts = makeParts({
    db,
    clock: CLOCK,
    deadlineMs: callDeadline(env),
    reset: resetOf(ctx, tenant),
    resetReason,
    durable: () => ctx.storage.sync(),
    async callBucket(bucket, call) {
      const name = await bucketObjectName(tenant, bucket)
      return call(bucketStub(env, name))
    },
    connectRelay: (relay, serial) => connectRelay(env, relay, serial),
  })
  return {
    ...parts,
    resetReason,
    rowsWritten: () => db.rowsWritten,
    openStreams: (deadlineMs) => openStreams(env, parts.relays.names, deadlineMs),
  }
}
