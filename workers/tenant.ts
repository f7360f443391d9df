import type { MiddlewareHandler } from 'hono'
import type { Environment } from '../durable-objects/environment.ts'
import { tenantOfRequest } from '../tenants/of-request.ts'
import type { Tenant } from '../tenants/tenant.ts'

export interface TenantContext {
  Bindings: Environment
  Variables: { tenant: Tenant }
}

/** Sets `c.var.tenant`, the tenant that the request is for. Throws ROCKPOOL_SETTINGS when there is none. */
export const tenant: MiddlewareHandler<TenantContext> = async (c, next) => {
  c.set('tenant', await tenantOfRequest(c.env, c.req.raw))
  await next()
}
