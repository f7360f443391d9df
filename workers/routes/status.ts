import { Hono } from 'hono'
import type { Environment } from '../../durable-objects/environment.ts'
import { isolateKey } from '../../durable-objects/shared/namespaces.ts'
import { PLACE_NOTICE, placementOf } from '../../durable-objects/shared/placement.ts'
import { RockpoolError } from '../../protocol/errors.ts'
import type { OperatorStatus, ReplicatorStatus } from '../../protocol/messages/status.ts'
import { MESSAGE_VERSION } from '../../protocol/versions.ts'
import type { Tenant } from '../../tenants/tenant.ts'
import { askerOf, CLAIM_NOTICE, isByClaim } from '../auth/asker.ts'
import { requirePermission } from '../auth/permissions.ts'
import { markOf, tokenOfHeader } from '../auth/token.ts'
import { briefly } from '../briefly.ts'
import { addressOf, guarded } from '../rates.ts'
import { askReplicator } from '../replicator.ts'
import { heldStatus } from '../stream/held.ts'
import type { TenantContext } from '../tenant.ts'
import { statusFor } from './hidden.ts'

/** `/status`: users see how current the data is, operators see everything. */
export const status = new Hono<TenantContext>()

status.get('/', async (c) => {
  const { tenant } = c.var
  const background = (work: Promise<unknown>) => c.executionCtx.waitUntil(work)
  const { operator, caller } = await guarded(c.env, addressOf(c.req.raw.headers), async (refresh) =>
    askerOf(c.env, tenant, tokenOfHeader(c.req.header('authorization')), { refresh, background }),
  )
  if (operator !== null) {
    requirePermission(operator, 'read', { tenant: tenant.name })
    return c.json({ data: statusFor(operator, tenant, await operatorStatus(c.env, tenant, false)) })
  }
  const ask = () => askReplicator(c.env, tenant, (replicator) => replicator.status({ v: MESSAGE_VERSION }))
  const last = await lastStatus(isolateKey(c.env), tenant.name, ask)
  // This isolate does not know yet that the tenant is not served.
  if (last.standing !== undefined && last.standing !== 'active')
    throw new RockpoolError('PSYNC_S2002', 'there is nothing at this address')
  const token = markOf(caller)
  // Where nothing was revoked nothing is asked, and the answer of a second ago serves.
  if (last.revocations) await askReplicator(c.env, tenant, (each) => each.committed({ v: MESSAGE_VERSION, token }))
  return c.json({ data: forUsers(last) })
})

const lastStatus = briefly<object, ReplicatorStatus>()

/**
 * How current the data is. `comparing` explains why nothing new arrives for a while; how much is held, and since when,
 * is only for operators.
 */
function forUsers({ state, checkpoint, plan, lagBytes, comparing }: ReplicatorStatus) {
  return { state, checkpoint, plan, lagBytes, comparing: comparing ? { fraction: comparing.fraction } : null }
}

/**
 * Returns the whole document, for operators: the replicator's, and the sections of the Worker. `look` examines the
 * source now, which opens a connection when no session runs. Throws ROCKPOOL_SETTINGS when the placement is wrong.
 */
export async function operatorStatus(
  env: Environment,
  tenant: Tenant,
  look: boolean,
): Promise<OperatorStatus & { streams: ReturnType<typeof heldStatus> }> {
  const placement = placementOf(env)
  const replicator = await askReplicator(env, tenant, (each) =>
    each.status({ v: MESSAGE_VERSION, ...(look && { look }) }),
  )
  return { ...replicator, placement, streams: heldStatus(), notes: await notesOf(env, tenant, placement.location) }
}

/** Returns notes about the settings of a deployment for its operators. */
async function notesOf(env: Environment, tenant: Tenant, location: string | null): Promise<string[]> {
  if (env.LOCAL_EDGE) return []
  const notes: string[] = []
  if (await isByClaim(env, tenant)) notes.push(CLAIM_NOTICE)
  if (location === null) notes.push(PLACE_NOTICE)
  return notes
}
