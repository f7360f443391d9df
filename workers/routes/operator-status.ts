import type { Environment } from '../../durable-objects/environment.ts'
import { PLACE_NOTICE, placementOf } from '../../durable-objects/shared/placement.ts'
import { MESSAGE_VERSION } from '../../protocol/versions.ts'
import type { OperatorStatus } from '../../protocol/messages/status.ts'
import { CLAIM_NOTICE } from '../auth/asker.ts'
import type { Tenant } from '../../tenants/tenant.ts'
import { operatorRulesOf } from '../auth/tenant-rules.ts'
import { askReplicator } from '../replicator.ts'
import { heldStatus } from '../stream/held.ts'

/** Everything, for operators. `look`: the source is looked at now, which opens a connection where no session is under way. Throws ROCKPOOL_SETTINGS for the place. */
export async function operatorStatus(
  env: Environment,
  tenant: Tenant,
  look: boolean,
): Promise<OperatorStatus & { streams: ReturnType<typeof heldStatus> }> {
  const placement = placementOf(env)
  const status = await askReplicator(env, tenant, (replicator) => replicator.status({ v: MESSAGE_VERSION, ...(look && { look }) }))
  return { ...status, placement, streams: heldStatus(), notes: await notesOf(env, tenant, placement.location) }
}

/** What an operator should know of the settings of a deployment. */
async function notesOf(env: Environment, tenant: Tenant, location: string | null): Promise<string[]> {
  if (env.LOCAL_EDGE) return []
  return [...((await operatorRulesOf(env, tenant)) === null ? [CLAIM_NOTICE] : []), ...(location === null ? [PLACE_NOTICE] : [])]
}
