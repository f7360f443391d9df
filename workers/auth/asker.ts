import type { Environment } from '../../durable-objects/environment.ts'
import { RockpoolError } from '../../protocol/errors.ts'
import { hasStoredTenants } from '../../tenants/of-environment.ts'
import type { Tenant } from '../../tenants/tenant.ts'
import { tokenSettings } from '../../tenants/tokens.ts'
import { accessOperator, ASSERTION_HEADER, hasAccess } from './access.ts'
import { operatorRules, tokenRules, type TokenRules } from './keys.ts'
import { both, everything, PERMISSIONS_FORM, permissionsOf, type Operator } from './permissions.ts'
import { operatorRulesOf, rulesOf } from './tenant-rules.ts'
import { saysOperator, tokenOfHeader, verifyToken, verifyWithKey, type Caller, type VerifyOptions } from './token.ts'

/** Somebody with a token. `operator` is null for a user. */
export interface Asker {
  caller: Caller
  operator: Operator | null
}

/**
 * Where operators have no keys of their own, a claim in a user's token opens `/admin`. A release after this day will
 * end that, not the day itself, so that nobody is locked out of a running deployment. `rockpool dev` and the commands
 * used with it sign such tokens; in that release they need keys of their own.
 */
const CLAIM_UNTIL = '2027-03-01'
export const CLAIM_NOTICE = `operators have no keys of their own: the claim "operator": true in a token of a user opens /admin, which releases after ${CLAIM_UNTIL} refuse. Set OPERATOR_KEYS and OPERATOR_AUDIENCE`

/** Whether this isolate has logged the notice, which it does once. */
let isLogged = false

/**
 * Verifies the token of a user or an operator. Operators are known by their own keys where there are any, else by the
 * claim. Throws PSYNC_S21….
 */
export async function askerOf(env: Environment, tenant: Tenant, token: string, options: VerifyOptions): Promise<Asker> {
  const operators = await operatorRulesOf(env, tenant)
  if (operators && saysOperator(token)) return byKey(token, operators, options)
  const caller = await verifyToken(token, await rulesOf(env, tenant), options)
  const isOperator = operators === null && claimOpens(env) && caller.claims.operator === true
  return { caller, operator: isOperator ? byClaim(caller) : null }
}

/**
 * Verifies a token of an operator. Its claim `permissions`, if it has one, takes away what it does not list. Throws
 * PSYNC_S21… or ROCKPOOL_OPERATOR.
 */
async function byKey(
  token: string,
  rules: TokenRules,
  options: VerifyOptions,
): Promise<{ caller: Caller; operator: Operator }> {
  const { caller, policy } = await verifyWithKey(token, rules, options)
  const claimed = caller.claims.permissions === undefined ? everything : permissionsOf(caller.claims.permissions)
  if (claimed === null) throw new RockpoolError('PSYNC_S2101', `the claim "permissions" must be ${PERMISSIONS_FORM}`)
  if (policy.operator === undefined) throw new RockpoolError('ROCKPOOL_OPERATOR', 'this needs a key of operators')
  const { key, may } = policy.operator
  return { caller, operator: { by: caller.user, key, may: both(may, claimed) } }
}

const byClaim = ({ user }: Caller): Operator => ({ by: user, key: 'claim', may: everything })

/**
 * Returns the operator whom Access has let in. Null: the request has a token of its own, which then counts alone, or
 * nothing of Access.
 */
async function byAccess(env: Environment, headers: Headers, options: VerifyOptions): Promise<Operator | null> {
  const assertion = headers.get(ASSERTION_HEADER)
  return assertion === null || headers.has('authorization') ? null : accessOperator(env, assertion, options)
}

/** Verifies who an operator is, by a token or by Access. Throws PSYNC_S21… or ROCKPOOL_OPERATOR. */
export async function operatorOf(
  env: Environment,
  tenant: Tenant,
  headers: Headers,
  options: VerifyOptions,
): Promise<Operator> {
  const accessed = await byAccess(env, headers, options)
  if (accessed !== null) return accessed
  const token = tokenOfHeader(headers.get('authorization'))
  const operators = await operatorRulesOf(env, tenant)
  if (operators) return (await byKey(token, operators, options)).operator
  const caller =
    (await localOperator(env, token, options)) ?? (await verifyToken(token, await rulesOf(env, tenant), options))
  if (!claimOpens(env))
    throw new RockpoolError('ROCKPOOL_OPERATOR', 'operators have no keys here: set OPERATOR_KEYS and OPERATOR_AUDIENCE')
  if (caller.claims.operator !== true)
    throw new RockpoolError('ROCKPOOL_OPERATOR', 'this needs a token with the claim "operator": true')
  logNotice(env)
  return byClaim(caller)
}

/**
 * Returns whether a claim of a user's token opens `/admin` where operators have no keys. Where there are several
 * tenants it does not: each signs the tokens of its users, and none of them administers the deployment. Nor where
 * operators sign in by Access.
 */
const claimOpens = (env: Environment): boolean => Boolean(env.LOCAL_EDGE) || !(hasStoredTenants(env) || hasAccess(env))

/** Returns whether operators of a tenant are known by nothing but a claim of users' tokens. */
export const isByClaim = async (env: Environment, tenant: Tenant): Promise<boolean> =>
  claimOpens(env) && (await operatorRulesOf(env, tenant)) === null

/** On a developer's machine whoever has the development secret is an operator of every tenant. Null: it is not. */
async function localOperator(env: Environment, token: string, options: VerifyOptions): Promise<Caller | null> {
  if (!env.LOCAL_EDGE || !hasStoredTenants(env)) return null
  return verifyToken(token, tokenRules(tokenSettings(env)), options).catch(() => null)
}

/**
 * On a developer's machine there is nothing to do: the release that refuses the claim gives `rockpool dev` keys of its
 * own.
 */
function logNotice(env: Environment): void {
  if (isLogged || env.LOCAL_EDGE) return
  console.warn(CLAIM_NOTICE)
  isLogged = true
}

/**
 * An operator of the whole deployment, by `OPERATOR_KEYS` or by Access. Null: there are none. On a developer's machine
 * whoever has the development secret is one. Throws PSYNC_S21… or ROCKPOOL_OPERATOR.
 */
export async function deploymentOperator(
  env: Environment,
  headers: Headers,
  options: VerifyOptions,
): Promise<Operator | null> {
  const accessed = await byAccess(env, headers, options)
  if (accessed !== null) return accessed
  const token = tokenOfHeader(headers.get('authorization'))
  const settings = tokenSettings(env)
  const operators = operatorRules(settings)
  if (operators) return (await byKey(token, operators, options)).operator
  if (hasAccess(env) && !env.LOCAL_EDGE)
    throw new RockpoolError('ROCKPOOL_OPERATOR', 'operators sign in by Cloudflare Access here')
  if (!env.LOCAL_EDGE) return null
  const caller = await verifyToken(token, tokenRules(settings), options)
  if (caller.claims.operator !== true)
    throw new RockpoolError('ROCKPOOL_OPERATOR', 'this needs a token with the claim "operator": true')
  return byClaim(caller)
}
