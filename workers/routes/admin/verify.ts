import { Hono } from 'hono'
import { MESSAGE_VERSION } from '../../../protocol/versions.ts'
import { askReplicator } from '../../replicator.ts'
import { flag } from './flag.ts'
import { logged, type OperatorContext } from './operator.ts'

/** `/admin/verify`: source, row state and buckets are compared. POST begins it, GET says how far it is and what it has found, DELETE ends it. */
export const verify = new Hono<OperatorContext>()

verify.get('/', async (c) =>
  c.json({ data: await askReplicator(c.env, c.var.tenant, (replicator) => replicator.verification({ v: MESSAGE_VERSION })) }),
)

/** `?repair=1`: what differs is mended. */
verify.post('/', async (c) => {
  const repair = flag(c.req.query('repair'))
  const answer = await askReplicator(c.env, c.var.tenant, (replicator) =>
    replicator.verify({ v: MESSAGE_VERSION, repair, by: c.get('by') }),
  )
  logged(c, repair ? 'repair' : 'verify', { number: answer.verify?.number ?? null })
  return c.json({ data: answer }, 202)
})

verify.delete('/', async (c) =>
  c.json({ data: await askReplicator(c.env, c.var.tenant, (replicator) => replicator.cancelVerify({ v: MESSAGE_VERSION })) }),
)
