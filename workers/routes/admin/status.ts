import { Hono } from 'hono'
import { operatorStatus } from '../status.ts'
import type { OperatorContext } from './operator.ts'

/**
 * `/admin/status`: the document that `/status` gives operators, after an examination of the source. For frequent
 * queries there is `/status`.
 */
export const status = new Hono<OperatorContext>()

status.get('/', async (c) => c.json({ data: await operatorStatus(c.env, c.var.tenant, true) }))
