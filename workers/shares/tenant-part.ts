import { isSingle, type TenantBindings } from '../../tenants/of-environment.ts'

/** What a tenant may have of the memory and the caches of an isolate that it shares with others. */
export const TENANT_PART = 1 / 4

/** Returns that part, or null where there is one tenant, which has everything. */
export const tenantPart = (env: TenantBindings): number | null => (isSingle(env) ? null : TENANT_PART)
