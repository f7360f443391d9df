import { decodeProtectedHeader, errors, jwtVerify, type JWTPayload } from 'jose'
import { RockpoolError } from '../../protocol/errors.ts'
import { MAX_USER_LENGTH } from '../../protocol/names.ts'
import { subjectHash, type TokenMark } from '../../protocol/revocations.ts'
import { inexactNumber, passedBound, pathText } from '../json-bounds.ts'
import { ALGORITHMS, type ImportedKey, type TokenPolicy } from './jwk.ts'
import type { Candidates, TokenRules } from './keys.ts'
import type { Background } from './remote.ts'

/** The `typ` of an operator's token. Such a token never works for a user. */
export const OPERATOR_TYPE = 'rockpool-operator+jwt'

/**
 * The accepted values of `typ`, in lower case and without `application/`. Most providers put `JWT` into tokens of every
 * kind, including ID tokens, which only their audience tells apart. But a token that names another purpose
 * (`logout+jwt`, `dpop+jwt`, `secevent+jwt`) must not be used for this one (RFC 8725, section 3.11).
 */
const TYPES = {
  user: new Set(['', 'jwt', 'at+jwt']),
  operator: new Set([OPERATOR_TYPE]),
  access: new Set(['', 'jwt']),
}

/** Who makes a request, by a verified token. */
export interface Caller {
  /** `sub` as text. It is part of the key of write checkpoints. */
  user: string
  /** The whole payload. */
  claims: Record<string, unknown>
  /** `exp`: seconds since 1970. */
  expires: number
}

/** Returns by what the token of a request is looked for among those that were revoked. `client`: its client id. */
export const markOf = ({ user, claims: { jti, iat } }: Caller, client?: string): TokenMark => ({
  user: subjectHash(user),
  client: client === undefined ? undefined : subjectHash(client),
  jti: typeof jti === 'string' ? subjectHash(jti) : undefined,
  iat: Number(iat),
})

export interface VerifyOptions {
  /** Keeps a fetch of keys alive after this request has ended. */
  background?: Background
  /** When false, this token does not cause key sets to be fetched. */
  refresh?: boolean
  /** Only for tests. */
  now?: Date
}

/** Longer tokens are refused unread. */
export const MAX_TOKEN_LENGTH = 32 * 1024

/**
 * Returns the token of an `Authorization` header: `Token <jwt>` or `Bearer <jwt>`, case-sensitive, with one space.
 * Throws PSYNC_S2106.
 */
export function tokenOfHeader(header: string | null | undefined): string {
  if (!header) throw new RockpoolError('PSYNC_S2106', 'the Authorization header is missing')
  const token = /^(?:Token|Bearer) (\S+)$/.exec(header)?.[1]
  if (!token) throw new RockpoolError('PSYNC_S2106', 'the Authorization header must be `Token <jwt>` or `Bearer <jwt>`')
  return token
}

/** A time from here on is taken as milliseconds: as seconds it would be in the year 5138, as milliseconds in 1973. */
const MILLISECONDS = 100_000_000_000

/**
 * Verifies a token with the key that has exactly its `kid`, else with the keys that have none. `sub`, `iat`, `exp` and
 * `aud` are required.
 *
 * Throws PSYNC_S2101 (malformed, claim missing, other algorithm, no key), S2102 (signature), S2103 (expired), S2104
 * (lives too long), S2105 (`aud`), S2204 (the keys cannot be fetched).
 */
export const verifyToken = async (token: string, rules: TokenRules, options: VerifyOptions = {}): Promise<Caller> =>
  (await verifyWithKey(token, rules, options)).caller

/** Like `verifyToken`; returns the policy of the key that signed the token, too. */
export async function verifyWithKey(
  token: string,
  rules: TokenRules,
  options: VerifyOptions = {},
): Promise<{ caller: Caller; policy: TokenPolicy }> {
  const now = options.now ?? new Date()
  const { payload, policy } = await verified(token, rules, now, options)
  const { sub, iat, exp, parameters } = payload as Record<string, unknown>
  if (rules.mustSay && (payload as Record<string, unknown>)[rules.mustSay.claim] !== rules.mustSay.value) {
    throw malformed(`the claim ${shown(rules.mustSay.claim)} must be the name of the tenant that the request is for`)
  }
  const user = userOf(sub)
  if (!isSeconds(iat) || !isSeconds(exp)) throw malformed('the claims "iat" and "exp" must be numbers')
  if (iat > now.getTime() / 1_000 + rules.toleranceSeconds) {
    const unit = iat >= MILLISECONDS ? ': it counts seconds since 1970, and this looks like milliseconds' : ''
    throw malformed(`the claim "iat" lies in the future${unit}`)
  }
  if (exp - iat > policy.maxLifetimeSeconds) {
    const lives = `the token lives for ${exp - iat} seconds ("exp" - "iat")`
    throw new RockpoolError('PSYNC_S2104', `${lives}; at most ${policy.maxLifetimeSeconds} are allowed`)
  }
  const claims = { ...payload }
  const bound = passedBound(claims)
  if (bound) throw malformed(`the payload of the token ${bound}`)
  // A claim that lost digits would grant access to somebody else's rows.
  const inexact = inexactNumber(claims)
  if (inexact)
    throw malformed(
      `the claim ${shown(pathText(inexact))} is a number of 2^53 or more, which loses digits: make it text`,
    )
  const plainObject = typeof parameters === 'object' && parameters !== null && !Array.isArray(parameters)
  if (parameters !== undefined && !plainObject) throw malformed('the claim "parameters" must be an object')
  return { caller: { user, claims, expires: exp }, policy }
}

interface Verified {
  payload: JWTPayload
  policy: TokenPolicy
}

/** Verifies signature, audience, issuer and times. Throws like `verifyToken`. */
export async function verified(token: string, rules: TokenRules, now: Date, options: VerifyOptions): Promise<Verified> {
  const background = options.background ?? (() => {})
  const refreshed = async () => options.refresh !== false && (await rules.refresh(algorithm, background))
  const { algorithm, kid, type } = headerOf(token)
  if (!TYPES[rules.purpose].has(type)) throw wrongType(rules, type)
  let candidates = await rules.candidates(algorithm, kid, background)
  let unusable: RockpoolError | null = null
  for (let again = false; ; again = true) {
    for (const key of candidates.keys) {
      const imported = await key.imported(algorithm).catch(() => null)
      if (!imported) {
        unusable = new RockpoolError(
          'PSYNC_S2201',
          `the key ${shown(key.kid ?? 'without "kid"')} cannot be used for ${algorithm}`,
        )
        continue
      }
      const payload = await payloadBy(imported, key.policy, token, algorithm, rules, now)
      if (payload) return { payload, policy: key.policy }
    }
    // A backend that makes a new key at each start may give all of them the same `kid`.
    const final = again || (candidates.named && !candidates.fetched)
    if (final || !(await refreshed())) {
      throw unusable ?? unverified(candidates, algorithm, kid)
    }
    candidates = await rules.candidates(algorithm, kid, background)
  }
}

function headerOf(token: string): { algorithm: string; kid: string | undefined; type: string } {
  if (token.length > MAX_TOKEN_LENGTH) throw malformed(`the token is longer than ${MAX_TOKEN_LENGTH} characters`)
  const parts = token.split('.').length
  if (parts === 5) throw malformed('the token is encrypted; it must be signed only')
  if (parts !== 3) throw malformed('the token is malformed: a signed JWT has three parts separated by dots')
  const { alg, kid, typ } = decoded(token)
  if (!ALGORITHMS.some((each) => each === alg)) {
    throw malformed(`the token is signed with ${shown(alg)}; accepted are ${ALGORITHMS.join(', ')}`)
  }
  if (kid !== undefined && typeof kid !== 'string') throw malformed('"kid" in the header of the token is not text')
  return { algorithm: String(alg), kid: kid === '' ? undefined : kid, type: typeText(typ) }
}

const typeText = (typ: unknown): string =>
  typ === undefined
    ? ''
    : String(typ)
        .toLowerCase()
        .replace(/^application\//, '')

function wrongType({ purpose }: TokenRules, type: string): RockpoolError {
  if (purpose === 'operator')
    return new RockpoolError('ROCKPOOL_OPERATOR', `this needs a token whose "typ" is ${OPERATOR_TYPE}`)
  return malformed(
    type === OPERATOR_TYPE
      ? 'an operator is no user: this is for tokens of users'
      : `a token of the type ${shown(type)} is none of a user`,
  )
}

/** Returns whether a token claims to be an operator's. Verifies nothing. Throws PSYNC_S2101. */
export const saysOperator = (token: string): boolean => headerOf(token).type === OPERATOR_TYPE

function decoded(token: string): Record<string, unknown> {
  try {
    return { ...decodeProtectedHeader(token) }
  } catch (cause) {
    throw new RockpoolError('PSYNC_S2101', 'the token is malformed: its header is not base64url of JSON', { cause })
  }
}

/** Returns null when this key did not sign the token. Throws when it did and the token is not valid. */
async function payloadBy(
  key: ImportedKey,
  policy: TokenPolicy,
  token: string,
  algorithm: string,
  rules: TokenRules,
  now: Date,
): Promise<JWTPayload | null> {
  try {
    const { payload } = await jwtVerify(token, key, {
      algorithms: [algorithm],
      audience: [...policy.audiences],
      ...(policy.issuers ? { issuer: [...policy.issuers] } : {}),
      requiredClaims: ['sub', 'iat', 'exp', 'aud'],
      clockTolerance: rules.toleranceSeconds,
      currentDate: now,
    })
    return payload
  } catch (error) {
    if (error instanceof errors.JWSSignatureVerificationFailed) return null
    throw claimError(error, policy, now)
  }
}

function claimError(error: unknown, { audiences, issuers }: TokenPolicy, now: Date): unknown {
  const options = { cause: error }
  if (error instanceof errors.JWTExpired) {
    const ago = Math.round(now.getTime() / 1_000 - Number(error.payload.exp))
    return new RockpoolError('PSYNC_S2103', `the token expired ${ago} seconds ago`, options)
  }
  if (error instanceof errors.JWTClaimValidationFailed) {
    const missing = error.reason === 'missing'
    if (error.claim === 'aud') {
      const has = missing ? 'the claim "aud" is missing' : `the claim "aud" is ${shown(error.payload.aud)}`
      return new RockpoolError('PSYNC_S2105', `${has}; expected is ${audiences.join(' or ')}`, options)
    }
    if (error.claim === 'iss') {
      const has = missing ? 'the claim "iss" is missing' : `the claim "iss" is ${shown(error.payload.iss)}`
      return malformed(`${has}; expected is ${(issuers ?? []).join(' or ')}`)
    }
    const wrong = error.claim === 'nbf' ? 'lies in the future: the token is not valid yet' : 'is not valid'
    return new RockpoolError(
      'PSYNC_S2101',
      `the claim ${JSON.stringify(error.claim)} ${missing ? 'is missing' : wrong}`,
      options,
    )
  }
  if (error instanceof errors.JOSEError) return new RockpoolError('PSYNC_S2101', 'the token is malformed', options)
  return error
}

/** Returns the error for a token that no key verified. */
function unverified(candidates: Candidates, algorithm: string, kid: string | undefined): RockpoolError {
  if (candidates.named)
    return new RockpoolError(
      'PSYNC_S2102',
      `the signature of the token is wrong: its key ${shown(kid)} did not make it`,
    )
  // The key may be in the set that could not be fetched, so nothing is known about the token.
  if (candidates.unread) return candidates.unread
  if (kid !== undefined) {
    const others = candidates.keys.length === 0 ? '' : ', and no key without "kid" made its signature'
    return malformed(`there is no key with the "kid" ${shown(kid)} of the token${others}`)
  }
  if (candidates.keys.length > 0)
    return new RockpoolError('PSYNC_S2102', 'the signature of the token is wrong: none of our keys made it')
  return malformed(`the token has no "kid", and there is no key without "kid" for ${algorithm}`)
}

/** Returns the subject as text. One that is not a string is converted; booleans become 1 and 0. */
function userOf(sub: unknown): string {
  if (sub === null || sub === '') throw malformed('the claim "sub" is empty')
  // Two users whose numbers differ only in lost digits would become one.
  if (typeof sub === 'number' && Number.isInteger(sub) && !Number.isSafeInteger(sub)) {
    throw malformed('the claim "sub" is a number above 2^53, which loses digits: make it text')
  }
  const user = typeof sub === 'string' ? sub : typeof sub === 'boolean' ? (sub ? '1' : '0') : JSON.stringify(sub)
  if (user.length > MAX_USER_LENGTH) throw malformed(`the claim "sub" is longer than ${MAX_USER_LENGTH} characters`)
  return user
}

const isSeconds = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value)

/** Claims that differ between tokens of the same authorization. */
const passing = new Set(['iat', 'exp', 'nbf', 'jti'])

/** Returns whether two tokens grant the same access, which all their other claims may decide. */
export function sameAuthorization(a: Caller, b: Caller): boolean {
  const lasting = ({ claims }: Caller) =>
    JSON.stringify(
      Object.entries(claims)
        .filter(([name]) => !passing.has(name))
        .sort(byName),
    )
  return lasting(a) === lasting(b)
}

const byName = ([a]: [string, unknown], [b]: [string, unknown]): number => (a < b ? -1 : a > b ? 1 : 0)

/** Returns a value of the token, shortened, for a message to its sender. */
const shown = (value: unknown): string => {
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length > 100 ? `${text.slice(0, 100)}…` : text
}

const malformed = (message: string) => new RockpoolError('PSYNC_S2101', message)
