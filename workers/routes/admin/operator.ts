import type { Context, MiddlewareHandler } from 'hono'
import { operatorOf } from '../../auth/asker.ts'
import { addressOf, guarded } from '../../rates.ts'
import type { TenantContext } from '../../tenant.ts'
import type { Operator } from '../../auth/permissions.ts'
import { checkNeeds } from '../needs.ts'
import { refuseForeignPages } from '../own-page.ts'

export interface OperatorContext extends TenantContext {
  Variables: TenantContext['Variables'] & { operator: Operator }
}

/**
 * Admits only operators who may do this, and no request of a foreign page that changes something. Throws PSYNC_S21…,
 * ROCKPOOL_OPERATOR, ROCKPOOL_PERMISSION or PSYNC_S2004.
 */
export const operator: MiddlewareHandler<OperatorContext> = async (c, next) => {
  const background = (work: Promise<unknown>) => c.executionCtx.waitUntil(work)
  const operator = await guarded(c.env, addressOf(c.req.raw.headers), async (refresh) =>
    operatorOf(c.env, c.var.tenant, c.req.raw.headers, { refresh, background }),
  )
  refuseForeignPages(c.req.raw)
  checkNeeds(c, operator, c.var.tenant.name)
  c.set('operator', operator)
  c.header('cross-origin-resource-policy', 'same-origin')
  await next()
}

/** Logs a line about what an operator has changed, or has tried to change. */
export function logged(c: Context<OperatorContext>, action: string, details: Record<string, unknown> = {}): void {
  const from = c.req.header('cf-connecting-ip') ?? null
  const { by, key } = c.get('operator')
  console.log(JSON.stringify({ event: 'operator', action, by, key, from, at: new Date().toISOString(), ...details }))
}
