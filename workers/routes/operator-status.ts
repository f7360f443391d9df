import type { Environment } from '../../durable-objects/environment.ts'
import { PLACE_NOTICE, placementOf } from '../../durable-objects/shared/placement.ts'
import { MESSAGE_VERSION } from '../../protocol/versions.ts'
import type { OperatorStatus } from '../../protocol/messages/status.ts'
import { CLAIM_NOTICE } from '../auth/asker.ts'
import { operatorRules } from '../auth/keys.ts'
import { askReplicator } from '../replicator.ts'
import { heldStatus } from '../stream/held.ts'

/** Everything, for operators. `look`: the source is looked at now, which opens a connection where no session is under way. Throws ROCKPOOL_SETTINGS for the place. */
export async function operatorStatus(
  env: Environment,
  look: boolean,
): Promise<OperatorStatus & { streams: ReturnType<typeof heldStatus> }> {
  const placement = placementOf(env)
  const status = await askReplicator(env, (replicator) => replicator.status({ v: MESSAGE_VERSION, ...(look && { look }) }))
  return { ...status, placement, streams: heldStatus(), notes: notesOf(env, placement.location) }
}

/** What an operator should know of the settings of a deployment. */
function notesOf(env: Environment, location: string | null): string[] {
  if (env.LOCAL_EDGE) return []
  return [...(operatorRules(env) === null ? [CLAIM_NOTICE] : []), ...(location === null ? [PLACE_NOTICE] : [])]
}
