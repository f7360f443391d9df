import type { Context } from 'hono'
import { matchedRoutes } from 'hono/route'
import { RockpoolError } from '../../protocol/errors.ts'
import { requirePermission, type Operator, type Permission, type Scope } from '../auth/permissions.ts'

/**
 * What a request of an operator needs. `of`: for which tenants. `named`: for the one in the path; `addressed`: for the
 * one whose address it is; `all`: for all there are; `any`: for one at least, and it is shown no others.
 */
export interface Need {
  permission: Permission
  of: 'named' | 'addressed' | 'all' | 'any'
}

const need = (permission: Permission, of: Need['of']): Need => ({ permission, of })

/** Each route of operators, and what it needs. A route that is not here is refused to everybody. */
export const NEEDS: Readonly<Record<string, Need>> = {
  'GET /admin/tenants': need('read', 'any'),
  'GET /admin/tenants/{name}': need('read', 'named'),
  'PUT /admin/tenants/{name}': need('tenants', 'named'),
  'PATCH /admin/tenants/{name}': need('tenants', 'named'),
  'DELETE /admin/tenants/{name}': need('tenants', 'named'),
  'POST /admin/tenants/{name}/suspend': need('write', 'named'),
  'POST /admin/tenants/{name}/resume': need('write', 'named'),
  'POST /admin/tenants/{name}/revoke': need('write', 'named'),
  'POST /admin/tenants/{name}/unrevoke': need('write', 'named'),
  'GET /admin/tenants/{name}/revocations': need('data', 'named'),
  'POST /admin/adopt': need('tenants', 'all'),
  'POST /admin/rekey': need('tenants', 'all'),
  // It names users whose tokens were revoked.
  'GET /admin/audit': need('data', 'all'),
  'GET /admin/spending': need('read', 'all'),
  'GET /admin/openapi.json': need('read', 'any'),

  'GET /admin/clients': need('data', 'addressed'),
  'GET /admin/sync-config': need('read', 'addressed'),
  'PUT /admin/sync-config': need('deploy', 'addressed'),
  'POST /admin/sync-config/{number}/withdraw': need('deploy', 'addressed'),
  'POST /admin/rollback': need('deploy', 'addressed'),
  'GET /admin/status': need('read', 'addressed'),
  'GET /admin/verify': need('read', 'addressed'),
  'POST /admin/verify': need('write', 'addressed'),
  'DELETE /admin/verify': need('write', 'addressed'),
  'POST /admin/revoke': need('write', 'addressed'),
  'POST /admin/unrevoke': need('write', 'addressed'),
  'GET /admin/revocations': need('data', 'addressed'),
}

/** Returns the name of a route in `NEEDS`: its method, and its path with names in braces. */
export const routeName = (method: string, path: string): string =>
  `${method} ${path.replace(/:(\w+)(\{(?:[^{}]|\{[^{}]*\})*\})?/g, '{$1}')}`

/**
 * Throws ROCKPOOL_PERMISSION when the operator may not do what the routes that match this request do. `tenant`: whose
 * address it is; null: the deployment's.
 */
export function checkNeeds(c: Context, operator: Operator, tenant: string | null): void {
  for (const { method, path } of matchedRoutes(c)) {
    // Middleware, such as the one that calls this.
    if (method === 'ALL') continue
    const name = routeName(method, path)
    const found = NEEDS[name]
    if (found === undefined) throw new RockpoolError('ROCKPOOL_PERMISSION', `nobody may ${name}`)
    requirePermission(operator, found.permission, scopeOf(c, found, tenant))
  }
}

function scopeOf(c: Context, { of }: Need, addressed: string | null): Scope {
  if (of === 'all' || of === 'any') return of
  const tenant = of === 'named' ? c.req.param('name') : addressed
  if (tenant === undefined || tenant === null)
    throw new RockpoolError('ROCKPOOL_PERMISSION', 'this is for a tenant, and names none')
  return { tenant }
}
