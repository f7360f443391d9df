import { Hono, type Context, type Env } from 'hono'
import type { Environment } from '../../../durable-objects/environment.ts'
import type { Asker, RevocationOutcome } from '../../../protocol/messages/directory.ts'
import type { Operator } from '../../auth/permissions.ts'
import { readJson, validated } from '../../stream/body.ts'
import { changeRevocations, revocationOf, revocationsOf, shown, subjectOf } from './revocations.ts'
import { revocationsQuery, revokeBody, subjectBody } from './shapes.ts'

interface Operators extends Env {
  Bindings: Environment
  Variables: { operator: Operator }
}

/** Who asks, for the audit. */
export function askerOf<E extends Operators>(c: Context<E>): Asker {
  const { by, key } = c.var.operator
  const from = c.req.header('cf-connecting-ip')
  return { by, key, ...(from !== undefined && { from }) }
}

/**
 * Routes by which tokens of a tenant are revoked: `revoke`, `unrevoke` and `revocations`, in the API of the deployment
 * and in that of the tenant. 202: not all objects have been told yet.
 */
export function revoking<E extends Operators>(tenantOf: (c: Context<E>) => string): Hono<E> {
  const routes = new Hono<E>()
  routes.post('/revoke', async (c) => {
    const tenant = tenantOf(c)
    const body = validated(revokeBody, await readJson(c.req.raw))
    const revocation = await revocationOf(c.env, tenant, body)
    const { by, ...asker } = askerOf(c)
    const outcome = await changeRevocations(c.env, tenant, { kind: 'revoke', by, revocation }, asker)
    return c.json({ data: { ...outcome, revocation: shown(revocation) } }, statusOf(outcome))
  })
  routes.post('/unrevoke', async (c) => {
    const subject = subjectOf(validated(subjectBody, await readJson(c.req.raw)))
    const { by, ...asker } = askerOf(c)
    const outcome = await changeRevocations(c.env, tenantOf(c), { kind: 'unrevoke', by, subject }, asker)
    return c.json({ data: outcome }, statusOf(outcome))
  })
  routes.get('/revocations', async (c) =>
    c.json({
      data: await revocationsOf(c.env, tenantOf(c), validated(revocationsQuery, c.req.query(), 'the address')),
    }),
  )
  return routes
}

const statusOf = ({ told }: RevocationOutcome): 200 | 202 => (told ? 200 : 202)
