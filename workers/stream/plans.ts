import type { Environment } from '../../durable-objects/environment.ts'
import { replicatorStub } from '../../durable-objects/shared/namespaces.ts'
import { answered, callDeadline } from '../../durable-objects/shared/retry.ts'
import { RockpoolError } from '../../protocol/errors.ts'
import { MESSAGE_VERSION } from '../../protocol/versions.ts'
import { loadPlan, parsePlan } from '../../sync-config/index.ts'
import type { Tenant } from '../../tenants/tenant.ts'
import type { LoadedPlan } from '../../sync-config/types.ts'
import { TenantCache } from '../shares/tenant-cache.ts'
import { tenantPart } from '../shares/tenant-part.ts'
import { PLAN_BYTES, PLANS_BYTES } from './limits.ts'

/**
 * The plans of this isolate. A hash names a plan's content, and the key has the limits with which it was loaded, so
 * none can be out of date.
 */
const cache = new TenantCache<LoadedPlan>(PLANS_BYTES)

/**
 * Returns a plan, with the limits of the tenant. Throws PSYNC_S2302 when the tenant has no such plan, ROCKPOOL_SETTINGS
 * when a limit is not valid.
 */
export async function planByHash(env: Environment, tenant: Tenant, hash: string): Promise<LoadedPlan> {
  const { limits } = tenant
  const key = `${hash}/${JSON.stringify(limits)}`
  const known = cache.get(tenant.name, key)
  if (known) return known
  const text = await answered(() => replicatorStub(env, tenant).plan({ v: MESSAGE_VERSION, hash }), callDeadline(env))
  if (text === null) throw new RockpoolError('PSYNC_S2302', `there is no sync plan ${hash}`)
  const plan = loadPlan(parsePlan(text), limits)
  cache.set(tenant.name, key, plan, { size: PLAN_BYTES * text.length, part: tenantPart(env) })
  return plan
}
