import { Hono } from 'hono'
import { MESSAGE_VERSION } from '../../../protocol/versions.ts'
import { askReplicator } from '../../replicator.ts'
import { verificationFor } from '../hidden.ts'
import { flag } from './flag.ts'
import { logged, type OperatorContext } from './operator.ts'

/**
 * `/admin/verify`: compares source, row state and buckets. POST begins it, GET returns its progress and results, DELETE
 * cancels it.
 */
export const verify = new Hono<OperatorContext>()

verify.get('/', async (c) => {
  const { operator, tenant } = c.var
  const answer = await askReplicator(c.env, tenant, (replicator) => replicator.verification({ v: MESSAGE_VERSION }))
  return c.json({ data: verificationFor(operator, tenant, answer) })
})

/** `?repair=1` also repairs differences. */
verify.post('/', async (c) => {
  const repair = flag(c.req.query('repair'))
  const answer = await askReplicator(c.env, c.var.tenant, (replicator) =>
    replicator.verify({ v: MESSAGE_VERSION, repair, by: c.var.operator.by }),
  )
  logged(c, repair ? 'repair' : 'verify', { number: answer.verify?.number ?? null })
  return c.json({ data: answer }, 202)
})

verify.delete('/', async (c) =>
  c.json({
    data: await askReplicator(c.env, c.var.tenant, (replicator) => replicator.cancelVerify({ v: MESSAGE_VERSION })),
  }),
)
