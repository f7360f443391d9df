import { directoryOf, hasStoredTenants, type TenantBindings } from './of-environment.ts'
import { pathOfSdk, pathWithin } from './stored/address.ts'
import type { Tenant } from './tenant.ts'

/** Returns the tenant that a request is for. Throws ROCKPOOL_SETTINGS or PSYNC_S2002 when there is none. */
export async function tenantOfRequest(env: TenantBindings, request: Request): Promise<Tenant> {
  const directory = directoryOf(env)
  return directory.find(await directory.nameFor(request))
}

/** Returns a path without the part that says for which tenant a request is. */
export const pathWithinTenant = (env: TenantBindings, path: string): string =>
  hasStoredTenants(env) ? pathWithin(path) : pathOfSdk(path)
