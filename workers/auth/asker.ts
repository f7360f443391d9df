import type { Environment } from '../../durable-objects/environment.ts'
import { RockpoolError } from '../../protocol/errors.ts'
import type { Tenant } from '../../tenants/tenant.ts'
import { operatorRulesOf, rulesOf } from './tenant-rules.ts'
import { saysOperator, verifyToken, type Session, type VerifyOptions } from './token.ts'

export interface Asker {
  session: Session
  operator: boolean
}

/**
 * Where operators have no keys of their own the claim of a user's token opens `/admin`. A release after that day ends it, and not the day itself: nobody is locked out of what is
 * deployed. `rockpool dev`, and the commands that it is used with, sign such tokens; they need keys of their own in that release.
 */
const CLAIM_UNTIL = '2027-03-01'
export const CLAIM_NOTICE = `operators have no keys of their own: the claim "operator": true in a token of a user opens /admin, which releases after ${CLAIM_UNTIL} refuse. Set OPERATOR_KEYS and OPERATOR_AUDIENCE`

/** Once in the life of an isolate. */
let told = false

/** A user, or an operator: by keys of their own where there are any, else by the claim. Throws PSYNC_S21…. */
export async function askerOf(env: Environment, tenant: Tenant, token: string, options: VerifyOptions): Promise<Asker> {
  const operators = await operatorRulesOf(env, tenant)
  if (operators && saysOperator(token)) return { session: await verifyToken(token, operators, options), operator: true }
  const session = await verifyToken(token, await rulesOf(env, tenant), options)
  return { session, operator: operators === null && session.claims.operator === true }
}

/** An operator. Throws PSYNC_S21… or ROCKPOOL_OPERATOR. */
export async function operatorOf(env: Environment, tenant: Tenant, token: string, options: VerifyOptions): Promise<Session> {
  const operators = await operatorRulesOf(env, tenant)
  if (operators) return verifyToken(token, operators, options)
  const session = await verifyToken(token, await rulesOf(env, tenant), options)
  if (session.claims.operator !== true) throw new RockpoolError('ROCKPOOL_OPERATOR', 'this needs a token with the claim "operator": true')
  if (!told) console.warn(CLAIM_NOTICE)
  told = true
  return session
}
