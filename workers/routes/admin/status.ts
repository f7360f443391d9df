import { Hono } from 'hono'
import { operatorStatus } from '../status.ts'
import type { OperatorContext } from './operator.ts'

/** `/admin/status`: what `/status` says to operators, behind a look at the source. Who asks often asks `/status`. */
export const status = new Hono<OperatorContext>()

status.get('/', async (c) => c.json({ data: await operatorStatus(c.env, c.var.tenant, true) }))
