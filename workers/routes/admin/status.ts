import { Hono } from 'hono'
import { statusFor } from '../hidden.ts'
import { operatorStatus } from '../status.ts'
import type { OperatorContext } from './operator.ts'

/**
 * `/admin/status`: the document that `/status` gives operators, after an examination of the source. For frequent
 * queries there is `/status`.
 */
export const status = new Hono<OperatorContext>()

status.get('/', async (c) => {
  const { operator, tenant } = c.var
  return c.json({ data: statusFor(operator, tenant, await operatorStatus(c.env, tenant, true)) })
})
