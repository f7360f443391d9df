import type { Environment } from '../durable-objects/environment.ts'
import { replicatorStub, type Placed } from '../durable-objects/shared/namespaces.ts'
import { answered, callDeadline, Unanswered } from '../durable-objects/shared/retry.ts'
import { RockpoolError } from '../protocol/errors.ts'
import type { ReplicatorRpc } from '../protocol/messages/replicator.ts'

/** A replicator waits for Postgres as long as one call may take, so its callers must wait longer. */
const CALLS = 2

/** Makes one call to the tenant's replicator. Rejects with ROCKPOOL_UNANSWERED after twice `CALL_SECONDS`. */
export async function askReplicator<T>(
  env: Environment,
  tenant: Placed,
  call: (replicator: ReplicatorRpc) => Promise<T>,
): Promise<T> {
  try {
    return await answered(() => call(replicatorStub(env, tenant)), CALLS * callDeadline(env))
  } catch (error) {
    if (!(error instanceof Unanswered)) throw error
    throw new RockpoolError('ROCKPOOL_UNANSWERED', 'the replicator does not answer: try again', { cause: error })
  }
}
