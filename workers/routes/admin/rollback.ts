import { Hono } from 'hono'
import { RockpoolError } from '../../../protocol/errors.ts'
import { MESSAGE_VERSION } from '../../../protocol/versions.ts'
import { askReplicator } from '../../replicator.ts'
import { flag } from './flag.ts'
import { logged, type OperatorContext } from './operator.ts'

/**
 * `/admin/rollback`: returns to the sync config that served before, or cancels a deploy in progress. `?to=NUMBER`
 * returns to that deploy. `?dry_run=1` only reports what would happen.
 */
export const rollback = new Hono<OperatorContext>()

rollback.post('/', async (c) => {
  const dryRun = flag(c.req.query('dry_run'))
  const to = numberOf(c.req.query('to'))
  const asked = { dryRun, by: c.var.operator.by, ...(to !== undefined && { to }) }
  const answer = await askReplicator(c.env, c.var.tenant, (replicator) =>
    replicator.rollback({ v: MESSAGE_VERSION, ...asked }),
  )
  if (!dryRun)
    logged(c, 'rollback', { number: answer.config?.number ?? null, cancelled: answer.cancelled?.number ?? null })
  return c.json({ data: answer }, dryRun ? 200 : 202)
})

/** Throws PSYNC_S2001. */
function numberOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  if (!/^[1-9][0-9]{0,8}$/.test(text)) throw new RockpoolError('PSYNC_S2001', 'to must be the number of a deploy')
  return Number(text)
}
