import { Hono } from 'hono'
import type { Environment } from '../../durable-objects/environment.ts'
import { isolateKey } from '../../durable-objects/shared/namespaces.ts'
import { PLACE_NOTICE, placementOf } from '../../durable-objects/shared/placement.ts'
import type { OperatorStatus, ReplicatorStatus } from '../../protocol/messages/status.ts'
import { MESSAGE_VERSION } from '../../protocol/versions.ts'
import type { Tenant } from '../../tenants/tenant.ts'
import { askerOf, CLAIM_NOTICE } from '../auth/asker.ts'
import { operatorRulesOf } from '../auth/tenant-rules.ts'
import { tokenOfHeader } from '../auth/token.ts'
import { briefly } from '../briefly.ts'
import { addressOf, guarded } from '../rates.ts'
import { askReplicator } from '../replicator.ts'
import { heldStatus } from '../stream/held.ts'
import type { TenantContext } from '../tenant.ts'

/** `/status`: users learn how current the data is, and operators everything. */
export const status = new Hono<TenantContext>()

status.get('/', async (c) => {
  const { tenant } = c.var
  const background = (work: Promise<unknown>) => c.executionCtx.waitUntil(work)
  const { operator } = await guarded(c.env, addressOf(c.req.raw.headers), async (refresh) =>
    askerOf(c.env, tenant, tokenOfHeader(c.req.header('authorization')), { refresh, background }),
  )
  if (operator) return c.json({ data: await operatorStatus(c.env, tenant, false) })
  const ask = () => askReplicator(c.env, tenant, (replicator) => replicator.status({ v: MESSAGE_VERSION }))
  return c.json({ data: forUsers(await lastStatus(isolateKey(c.env), tenant.name, ask)) })
})

const lastStatus = briefly<object, ReplicatorStatus>()

/** How current the data is. `comparing` is why nothing new comes for a while; how much is held, and since when, is the operators' business. */
function forUsers({ state, checkpoint, plan, lagBytes, comparing }: ReplicatorStatus) {
  return { state, checkpoint, plan, lagBytes, comparing: comparing ? { fraction: comparing.fraction } : null }
}

/**
 * The whole document, for operators: what the replicator says, and the sections of the Worker. `look`: the source is looked at now, which opens a
 * connection where no session is under way. Throws ROCKPOOL_SETTINGS for the place.
 */
export async function operatorStatus(
  env: Environment,
  tenant: Tenant,
  look: boolean,
): Promise<OperatorStatus & { streams: ReturnType<typeof heldStatus> }> {
  const placement = placementOf(env)
  const replicator = await askReplicator(env, tenant, (each) => each.status({ v: MESSAGE_VERSION, ...(look && { look }) }))
  return { ...replicator, placement, streams: heldStatus(), notes: await notesOf(env, tenant, placement.location) }
}

/** What an operator should know of the settings of a deployment. */
async function notesOf(env: Environment, tenant: Tenant, location: string | null): Promise<string[]> {
  if (env.LOCAL_EDGE) return []
  const notes: string[] = []
  if ((await operatorRulesOf(env, tenant)) === null) notes.push(CLAIM_NOTICE)
  if (location === null) notes.push(PLACE_NOTICE)
  return notes
}
