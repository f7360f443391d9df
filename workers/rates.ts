import type { Environment } from '../durable-objects/environment.ts'
import { BoundedMap } from '../durable-objects/shared/bounded-map.ts'
import { answered } from '../durable-objects/shared/retry.ts'
import { RockpoolError, type ErrorCode } from '../protocol/errors.ts'
import type { Tenant } from '../tenants/tenant.ts'
import { isByClaim } from './auth/asker.ts'
import type { Caller } from './auth/token.ts'

// Rate limits, counted by Cloudflare's rate limiting binding ([[ratelimits]] in wrangler.toml), separately in each
// location and approximately (its documentation, 2026-11). Without the bindings, as in `rockpool dev`, nothing is
// counted. Each query of a limit counts as a request, and many honest people may share an address, so the limit of an
// address is queried only after a failure.

type Binding = Pick<RateLimit, 'limit'>

/** The periods of wrangler.toml, in seconds, which a client over a limit is told. */
const STREAMS_PERIOD = 10
const MINUTE = 60
/** Queries a limit. When the counter fails, nobody is refused. */
const ANSWER_MS = 1_000
const MAX_ADDRESSES = 10_000

/** Counts a stream that a user opens. Throws PSYNC_S2304. */
export async function countStream(env: Environment, tenant: Tenant, caller: Caller): Promise<void> {
  if ((await exempt(env, tenant, caller)) || (await passes(env.RATE_STREAMS, `${tenant.name}/${caller.user}`))) return
  throw tooOften('PSYNC_S2304', 'this user opens streams too often: wait, and open one for each device', STREAMS_PERIOD)
}

/** Counts a write checkpoint of a user. Throws ROCKPOOL_RATE. */
export async function countWrite(env: Environment, tenant: Tenant, caller: Caller): Promise<void> {
  if ((await exempt(env, tenant, caller)) || (await passes(env.RATE_WRITES, `${tenant.name}/${caller.user}`))) return
  throw tooOften('ROCKPOOL_RATE', 'this user asks for write checkpoints too often', MINUTE)
}

const exempt = async (env: Environment, tenant: Tenant, { claims }: Caller): Promise<boolean> =>
  claims.operator === true && (await isByClaim(env, tenant))

/** Addresses that have failed too often, with the time until which that is remembered. */
const over = new BoundedMap<string, number>(MAX_ADDRESSES)

/**
 * Verifies a token that may be refused. `trusted`: the address has not failed too often, so keys may be fetched for it.
 */
export async function guarded<T>(
  env: Environment,
  address: string | null,
  work: (trusted: boolean) => Promise<T>,
): Promise<T> {
  const trusted = !failsOften(address)
  try {
    return await work(trusted)
  } catch (error) {
    if (!(error instanceof RockpoolError) || !isStrangers(error.code)) throw error
    throw await countFailure(env, address, error)
  }
}

/** Returns the error for the client: `error`, or ROCKPOOL_RATE when its address fails too often. */
export async function countFailure(
  env: Environment,
  address: string | null,
  error: RockpoolError,
): Promise<RockpoolError> {
  if (address === null) return error
  if (!failsOften(address) && (await passes(env.RATE_FAILURES, address))) return error
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

/**
 * Returns whether nothing is known about the sender: no token, a malformed one, or one that none of our keys signed. An
 * expired token still identifies its user.
 */
const isStrangers = (code: ErrorCode): boolean =>
  code === 'PSYNC_S2101' || code === 'PSYNC_S2102' || code === 'PSYNC_S2106'

/** Returns what identifies a client without a token. Of IPv6 that is the /64, which belongs to one customer. */
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

/** Returns after how many seconds to retry; null: that is not known. */
export function retryAfterOf({ status, details }: RockpoolError): number | null {
  if (
    (status !== 429 && status !== 503) ||
    typeof details !== 'object' ||
    details === null ||
    !('retryAfter' in details)
  )
    return null
  return typeof details.retryAfter === 'number' ? details.retryAfter : null
}
