import { Hono } from 'hono'
import { MESSAGE_VERSION } from '../../protocol/messages.ts'
import { askReplicator } from '../replicator.ts'
import { flag } from './flag.ts'
import { logged, type OperatorContext } from './operator.ts'

/** `/admin/rollback`: back to the sync config that served before; a deploy that is under way is given up instead. `?dry_run=1` only says what it would do. */
export const rollback = new Hono<OperatorContext>()

rollback.post('/', async (c) => {
  const dryRun = flag(c.req.query('dry_run'))
  const answer = await askReplicator(c.env, (replicator) => replicator.rollback({ v: MESSAGE_VERSION, dryRun, by: c.get('by') }))
  if (!dryRun) logged(c, 'rollback', { number: answer.config?.number ?? null, cancelled: answer.cancelled?.number ?? null })
  return c.json({ data: answer }, dryRun ? 200 : 202)
})
