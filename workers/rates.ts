import type { Environment } from '../durable-objects/environment.ts'
import { answered } from '../durable-objects/shared/retry.ts'
import { RockpoolError, type ErrorCode } from '../protocol/errors.ts'
import type { Tenant } from '../tenants/tenant.ts'
import { operatorRulesOf } from './auth/tenant-rules.ts'
import type { Session } from './auth/token.ts'

// How often somebody may ask, counted by Cloudflare's rate limiting binding ([[ratelimits]] in wrangler.toml): for each location by itself, and about right
// (its documentation, 2026-11). Without the bindings, as in `rockpool dev`, nothing is counted. The platform counts with each question, so addresses, behind
// which many honest people may be, are asked about only when something has failed.

type Binding = Pick<RateLimit, 'limit'>

/** Periods of wrangler.toml, in seconds: what is told to who is over a limit. */
const STREAMS_PERIOD = 10
const MINUTE = 60
/** A counter that does not answer refuses nobody. */
const ANSWER_MS = 1_000
const MAX_ADDRESSES = 10_000

/** Of a user: streams that are opened. Throws PSYNC_S2304. */
export async function countStream(env: Environment, tenant: Tenant, session: Session): Promise<void> {
  if ((await exempt(env, tenant, session)) || (await passes(env.RATE_STREAMS, `${tenant.name}/${session.user}`))) return
  throw tooOften('PSYNC_S2304', 'this user opens streams too often: wait, and open one for each device', STREAMS_PERIOD)
}

/** Of a user: write checkpoints. Throws ROCKPOOL_RATE. */
export async function countWrite(env: Environment, tenant: Tenant, session: Session): Promise<void> {
  if ((await exempt(env, tenant, session)) || (await passes(env.RATE_WRITES, `${tenant.name}/${session.user}`))) return
  throw tooOften('ROCKPOOL_RATE', 'this user asks for write checkpoints too often', MINUTE)
}

const exempt = async (env: Environment, tenant: Tenant, { claims }: Session): Promise<boolean> =>
  claims.operator === true && (await operatorRulesOf(env, tenant)) === null

/** Addresses that have failed too often, with the time until which they are remembered. */
const over = new Map<string, number>()

/** What asks for a token that may be refused. `trusted`: the address has not failed too often, so keys may be fetched for it. */
export async function guarded<T>(env: Environment, address: string | null, work: (trusted: boolean) => Promise<T>): Promise<T> {
  const trusted = !failsOften(address)
  try {
    return await work(trusted)
  } catch (error) {
    if (!(error instanceof RockpoolError) || !isStrangers(error.code)) throw error
    throw await countFailure(env, address, error)
  }
}

/** The error to answer: `error`, or ROCKPOOL_RATE when this address fails too often. */
export async function countFailure(env: Environment, address: string | null, error: RockpoolError): Promise<RockpoolError> {
  if (address === null) return error
  if (!failsOften(address) && (await passes(env.RATE_FAILURES, address))) return error
  const [oldest] = over.keys()
  if (over.size >= MAX_ADDRESSES && oldest !== undefined) over.delete(oldest)
  if (!over.has(address)) over.set(address, Date.now() + MINUTE * 1_000)
  return tooOften('ROCKPOOL_RATE', 'too many requests from this address were refused', MINUTE)
}

function failsOften(address: string | null): boolean {
  const until = address === null ? undefined : over.get(address)
  if (address === null || until === undefined) return false
  if (until > Date.now()) return true
  over.delete(address)
  return false
}

/** No token, a malformed one, or one that no key of ours signed. Who was signed for us is known, also when the token has expired. */
const isStrangers = (code: ErrorCode): boolean => code === 'PSYNC_S2101' || code === 'PSYNC_S2102' || code === 'PSYNC_S2106'

/** By what a client is known before it has a token. Of IPv6 everybody has a /64. */
export function addressOf(headers: Headers): string | null {
  const address = headers.get('cf-connecting-ip')
  if (!address?.includes(':')) return address
  const [front = '', back] = address.split('::')
  const left = front.split(':').filter((part) => part !== '')
  const missing = back === undefined ? 0 : 8 - left.length - back.split(':').filter((part) => part !== '').length
  return [...left, ...Array.from({ length: Math.max(0, missing) }, () => '0')].slice(0, 4).join(':')
}

async function passes(binding: Binding | undefined, key: string): Promise<boolean> {
  if (!binding) return true
  try {
    return (await answered(() => binding.limit({ key }), ANSWER_MS)).success
  } catch {
    return true
  }
}

const tooOften = (code: ErrorCode, message: string, retryAfter: number) =>
  new RockpoolError(code, message, { status: 429, details: { retryAfter } })

/** Seconds after which it is worth trying again, of an error of this module. */
export function retryAfterOf({ status, details }: RockpoolError): number | null {
  if (status !== 429 || typeof details !== 'object' || details === null || !('retryAfter' in details)) return null
  return typeof details.retryAfter === 'number' ? details.retryAfter : null
}
