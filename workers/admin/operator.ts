import type { MiddlewareHandler } from 'hono'
import type { Environment } from '../../durable-objects/environment.ts'
import { RockpoolError } from '../../protocol/errors.ts'
import { tokenRules } from '../auth/keys.ts'
import { tokenOfHeader, verifyToken } from '../auth/token.ts'

/** Lets pass whoever has a valid token with the claim `operator: true`. Throws PSYNC_S21… or ROCKPOOL_OPERATOR. */
export const operator: MiddlewareHandler<{ Bindings: Environment }> = async (c, next) => {
  const token = tokenOfHeader(c.req.header('authorization'))
  const { claims } = await verifyToken(token, tokenRules(c.env), { background: (work) => c.executionCtx.waitUntil(work) })
  if (claims.operator !== true) throw new RockpoolError('ROCKPOOL_OPERATOR', 'this needs a token with the claim "operator": true')
  await next()
}
