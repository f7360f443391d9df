import { jsonOrNull } from '../../protocol/json.ts'
import { TOKEN_NAMES, type RequiredClaim, type TokenSettings } from '../../tenants/tokens.ts'
import { RockpoolError } from '../../protocol/errors.ts'
import { staticKey, unusable } from './static-key.ts'
import { addressRanges, hostIn, isLoopback } from './addresses.ts'
import { issuersOf } from './issuers.ts'
import { MIN_SECRET_BYTES, secretKey, type TokenPolicy, type VerificationKey } from './jwk.ts'
import { operatorKeys } from './operator-keys.ts'

/** A key set that is fetched. */
export interface RemoteKeySet {
  url: URL
  policy: TokenPolicy
}

/** What a token is for, by its `typ`. */
export type Purpose = 'user' | 'operator' | 'access'

export interface AuthSettings {
  purpose: Purpose
  /** By how much an identity provider's clock may differ from ours. */
  toleranceSeconds: number
  keys: VerificationKey[]
  remote: RemoteKeySet[]
  /** See `TokenSettings`. */
  mustSay?: RequiredClaim
}

const DAY_SECONDS = 86_400
const DEFAULT_TOLERANCE_SECONDS = 60
const MAX_TOLERANCE_SECONDS = 600
/** Supabase lets projects choose up to a week. 20 minutes more, because its tokens are renewed late. */
const SUPABASE_LIFETIME_SECONDS = 7 * DAY_SECONDS + 20 * 60
const SUPABASE_AUDIENCE = 'authenticated'
const SUPABASE_KEYS = 'auth/v1/.well-known/jwks.json'
const MAX_URLS = 8

/** Returns the same string for the same settings. */
export const textOf = (settings: TokenSettings): string =>
  JSON.stringify([settings.mustSay ?? null, ...TOKEN_NAMES.map((name) => settings[name] ?? null)])

/** Throws PSYNC_S2201 and S2203, which name the setting and never contain the value of a secret. */
export function authSettings(bindings: TokenSettings): AuthSettings {
  const settings = texts(bindings)
  const audiences = listOf(settings.JWT_AUDIENCE)
  const maxLifetimeSeconds = settings.JWT_MAX_LIFETIME ? lifetime(settings.JWT_MAX_LIFETIME) : DAY_SECONDS
  const named = listOf(settings.JWT_ISSUER)
  /** Returns the issuers implied by an address and those that are set, or null when there are neither. */
  const issuers = (known: readonly string[] | null) =>
    known === null && named.length === 0 ? null : [...(known ?? []), ...named]
  const own: TokenPolicy = { audiences, maxLifetimeSeconds, issuers: issuers(null) }
  const project = settings.SUPABASE_URL ? supabaseKeys(urlOf('SUPABASE_URL', settings.SUPABASE_URL)) : null
  const supabase: TokenPolicy = {
    audiences: [SUPABASE_AUDIENCE],
    maxLifetimeSeconds: Math.max(maxLifetimeSeconds, SUPABASE_LIFETIME_SECONDS),
    issuers: issuers(project && issuersOf(project, [])),
  }

  const ownKeys: VerificationKey[] = []
  if (settings.JWT_SECRET) ownKeys.push(secretKey(secretBytes(settings.JWT_SECRET), own))
  if (settings.JWT_KEYS) ownKeys.push(...staticKeys('JWT_KEYS', settings.JWT_KEYS, own))
  const refused = addressRanges(listOf(settings.JWKS_REJECT_IP_RANGES))
  if (refused.kind === 'invalid') {
    throw unusable(
      `JWKS_REJECT_IP_RANGES: ${JSON.stringify(refused.part)} is not an address range; write 10.0.0.0/8, fd00::/8 or local`,
    )
  }
  const remoteKeySet = (setting: string, url: URL, policy: TokenPolicy): RemoteKeySet => {
    if (!hostIn(url, refused.ranges)) return { url, policy }
    throw new RockpoolError('PSYNC_S2203', `${setting}: JWKS_REJECT_IP_RANGES forbids the address ${url.hostname}`)
  }
  const urls = listOf(settings.JWKS_URL)
  if (urls.length > MAX_URLS) throw unusable(`JWKS_URL names ${urls.length} URLs; at most ${MAX_URLS} are allowed`)
  const ownRemote = urls.map((text) => {
    const url = urlOf('JWKS_URL', text)
    return remoteKeySet('JWKS_URL', url, { ...own, issuers: issuers(issuersOf(url, audiences)) })
  })

  const keys = [...ownKeys]
  const remote = [...ownRemote]
  if (settings.SUPABASE_JWT_SECRET)
    keys.push(secretKey(supabaseSecret(settings.SUPABASE_JWT_SECRET), supabase, ['HS256']))
  if (project) remote.push(remoteKeySet('SUPABASE_URL', project, supabase))
  if (keys.length + remote.length === 0) {
    throw unusable(
      'JWT_SECRET is not set (`wrangler secret put JWT_SECRET` takes it, base64url), nor is JWT_KEYS, JWKS_URL, SUPABASE_URL or SUPABASE_JWT_SECRET',
    )
  }
  if (ownKeys.length + ownRemote.length > 0 && audiences.length === 0) {
    throw unusable('JWT_AUDIENCE is not set: name the audience that tokens carry')
  }
  const rules: AuthSettings = {
    purpose: 'user',
    toleranceSeconds: tolerance(settings.JWT_CLOCK_TOLERANCE),
    keys,
    remote,
  }
  return bindings.mustSay === undefined ? rules : { ...rules, mustSay: bindings.mustSay }
}

/**
 * Returns how long tokens of users may live at most, and by how much clocks may differ, both in seconds. Throws
 * PSYNC_S2201, which names the setting.
 */
export function tokenTimes(bindings: TokenSettings): { longestSeconds: number; toleranceSeconds: number } {
  const { toleranceSeconds, keys, remote } = authSettings(bindings)
  const lives = [...keys, ...remote].map(({ policy }) => policy.maxLifetimeSeconds)
  return { longestSeconds: Math.max(...lives), toleranceSeconds }
}

/**
 * Returns how operators' tokens are verified, or null when there are no keys for them. Throws PSYNC_S2201, which names
 * the setting.
 */
export function operatorSettings(bindings: TokenSettings): AuthSettings | null {
  const settings = texts(bindings)
  if (!settings.OPERATOR_KEYS) return null
  const audiences = listOf(settings.OPERATOR_AUDIENCE)
  if (audiences.length === 0)
    throw unusable('OPERATOR_AUDIENCE is not set: name the audience that tokens of operators carry')
  const shared = listOf(settings.JWT_AUDIENCE).find((each) => audiences.includes(each))
  if (shared !== undefined)
    throw unusable(`OPERATOR_AUDIENCE: ${JSON.stringify(shared)} is an audience of users as well`)
  const policy: TokenPolicy = { audiences, maxLifetimeSeconds: DAY_SECONDS, issuers: null }
  const keys = operatorKeys(givenKeys('OPERATOR_KEYS', settings.OPERATOR_KEYS), policy)
  return { purpose: 'operator', toleranceSeconds: tolerance(settings.JWT_CLOCK_TOLERANCE), keys, remote: [] }
}

const supabaseKeys = (base: URL): URL => new URL(SUPABASE_KEYS, `${base.href.replace(/\/+$/, '')}/`)

/** Reads a setting of `[vars]`, which may also be a number or a table. */
function texts(bindings: TokenSettings): Partial<Record<(typeof TOKEN_NAMES)[number], string>> {
  const settings: Partial<Record<(typeof TOKEN_NAMES)[number], string>> = {}
  for (const name of TOKEN_NAMES) {
    const value: unknown = bindings[name]
    if (value !== undefined && value !== null)
      settings[name] = typeof value === 'string' ? value : JSON.stringify(value)
  }
  return settings
}

function secretBytes(secret: string): Uint8Array {
  if (!/^[A-Za-z0-9_-]+={0,2}$/.test(secret)) throw unusable('JWT_SECRET is not base64url')
  return longEnough('JWT_SECRET', new Uint8Array(Buffer.from(secret, 'base64url')))
}

/** The bytes of the text are the secret, although it often looks like base64. */
function supabaseSecret(secret: string): Uint8Array {
  return longEnough('SUPABASE_JWT_SECRET', new TextEncoder().encode(secret))
}

function longEnough(setting: string, bytes: Uint8Array): Uint8Array {
  if (bytes.length >= MIN_SECRET_BYTES) return bytes
  throw unusable(`${setting} has ${bytes.length} bytes; HS256 needs at least ${MIN_SECRET_BYTES}`)
}

function givenKeys(setting: string, text: string): unknown[] {
  const parsed = jsonOrNull(text)
  const given = typeof parsed === 'object' && parsed !== null && 'keys' in parsed ? parsed.keys : null
  if (Array.isArray(given) && given.length > 0) return given
  throw unusable(`${setting} is not a JSON Web Key Set: {"keys": [{"kty": …}]}`)
}

const staticKeys = (setting: string, text: string, policy: TokenPolicy): VerificationKey[] =>
  givenKeys(setting, text).map((each, i) => staticKey(`${setting}: keys[${i}]`, each, policy))

/** Throws PSYNC_S2201. */
export function urlOf(setting: string, text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null
  if (!url) throw unusable(`${setting}: ${JSON.stringify(text.slice(0, 200))} is not a URL`)
  if (url.username !== '' || url.password !== '')
    throw unusable(`${setting}: a URL with a user or password is not allowed`)
  if (url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url))) return url
  throw unusable(`${setting}: the URL must begin with https:// (http:// only for this machine, during development)`)
}

const UNITS: Record<string, number> = { '': 1, s: 1, m: 60, h: 3_600, d: DAY_SECONDS }

function lifetime(text: string): number {
  const parts = /^(\d{1,9})([smhd]?)$/.exec(text.trim())
  const seconds = Number(parts?.[1] ?? 0) * (UNITS[parts?.[2] ?? ''] ?? 0)
  if (seconds > 0) return seconds
  throw unusable('JWT_MAX_LIFETIME is not a duration: write 1d, 12h, 90m, or a number of seconds')
}

function tolerance(text: string | undefined): number {
  if (!text) return DEFAULT_TOLERANCE_SECONDS
  const seconds = /^\d{1,4}$/.test(text.trim()) ? Number(text) : Number.NaN
  if (seconds <= MAX_TOLERANCE_SECONDS) return seconds
  throw unusable(`JWT_CLOCK_TOLERANCE is not a number of seconds from 0 to ${MAX_TOLERANCE_SECONDS}`)
}

export const listOf = (text: string | undefined): string[] =>
  (text ?? '').split(',').flatMap((part) => part.trim() || [])
