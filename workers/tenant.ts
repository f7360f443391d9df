import type { MiddlewareHandler } from 'hono'
import { getPath } from 'hono/utils/url'
import type { Environment } from '../durable-objects/environment.ts'
import { RockpoolError } from '../protocol/errors.ts'
import { pathWithinTenant, tenantOfRequest } from '../tenants/of-request.ts'
import type { Tenant } from '../tenants/tenant.ts'
import { addressOf, countFailure } from './rates.ts'

export interface TenantContext {
  Bindings: Environment
  Variables: { tenant: Tenant }
}

/** Returns the path by which a request is routed: that within its tenant. */
export const pathOf = (request: Request, { env }: { env?: Environment } = {}): string => {
  const path = getPath(request)
  return env === undefined ? path : pathWithinTenant(env, path)
}

/**
 * Sets `c.var.tenant`, the tenant that the request is for. Throws ROCKPOOL_SETTINGS when it is for none, or
 * PSYNC_S2002, which counts as a failure of the address.
 */
export const tenant: MiddlewareHandler<TenantContext> = async (c, next) => {
  try {
    c.set('tenant', await tenantOfRequest(c.env, c.req.raw))
  } catch (error) {
    const isStranger = error instanceof RockpoolError && error.code === 'PSYNC_S2002'
    throw isStranger ? await countFailure(c.env, addressOf(c.req.raw.headers), error) : error
  }
  await next()
}
