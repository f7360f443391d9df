import { directoryOf, type TenantBindings } from './of-environment.ts'
import type { Tenant } from './tenant.ts'

/** Returns the tenant that a request is for. Throws ROCKPOOL_SETTINGS when there is none. */
export async function tenantOfRequest(env: TenantBindings, request: Request): Promise<Tenant> {
  const directory = directoryOf(env)
  return directory.find(await directory.nameFor(request))
}
