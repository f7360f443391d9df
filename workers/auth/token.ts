import { decodeProtectedHeader, errors, jwtVerify, type JWTPayload } from 'jose'
import { RockpoolError } from '../../protocol/errors.ts'
import { MAX_USER_LENGTH } from '../../protocol/names.ts'
import { inexactNumber, passedBound, pathText } from '../json-bounds.ts'
import { ALGORITHMS, type ImportedKey, type TokenPolicy } from './jwk.ts'
import type { Candidates, TokenRules } from './keys.ts'
import type { Background } from './remote.ts'

/** `typ` of a token that makes its bearer an operator, and never a user. */
export const OPERATOR_TYPE = 'rockpool-operator+jwt'

/**
 * What `typ` may say, in small letters and without `application/`. Most providers say `JWT` in tokens of every kind, ID tokens included, so those are told apart
 * by their audience; but a token that names another purpose (`logout+jwt`, `dpop+jwt`, `secevent+jwt`) is for that alone (RFC 8725, section 3.11).
 */
const TYPES = { user: new Set(['', 'jwt', 'at+jwt']), operator: new Set([OPERATOR_TYPE]) }

/** Who asks, as a verified token says. */
export interface Session {
  /** `sub` as text: part of the key of write checkpoints. */
  user: string
  /** The whole payload. */
  claims: Record<string, unknown>
  /** `exp`: seconds since 1970. */
  expires: number
}

export interface VerifyOptions {
  /** Keeps a fetch of keys alive that outlasts this request. */
  background?: Background
  /** False: key sets are not fetched for the sake of this token. */
  refresh?: boolean
  /** Only for tests. */
  now?: Date
}

/** Longer ones are not looked at. */
export const MAX_TOKEN_LENGTH = 32 * 1024

/**
 * The token of an `Authorization` header: `Token <jwt>` or `Bearer <jwt>`, case-sensitive, one space. Throws PSYNC_S2106.
 */
export function tokenOfHeader(header: string | null | undefined): string {
  if (!header) throw new RockpoolError('PSYNC_S2106', 'the Authorization header is missing')
  const token = /^(?:Token|Bearer) (\S+)$/.exec(header)?.[1]
  if (!token) throw new RockpoolError('PSYNC_S2106', 'the Authorization header must be `Token <jwt>` or `Bearer <jwt>`')
  return token
}

/** Seconds from here on are the year 5138; milliseconds are 1973. */
const MILLISECONDS = 100_000_000_000

/**
 * Verifies a token: by the key with exactly its `kid`, else by those without one. `sub`, `iat`, `exp` and `aud` are required.
 *
 * Throws PSYNC_S2101 (malformed, claim missing, other algorithm, no key), S2102 (signature), S2103 (expired), S2104 (lives too long),
 * S2105 (`aud`), S2204 (the keys cannot be fetched).
 */
export async function verifyToken(token: string, rules: TokenRules, options: VerifyOptions = {}): Promise<Session> {
  const now = options.now ?? new Date()
  const { payload, policy } = await verified(token, rules, now, options)
  const { sub, iat, exp, parameters } = payload as Record<string, unknown>
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
  // A claim whose digits were lost would give the rows of somebody else.
  const inexact = inexactNumber(claims)
  if (inexact) throw malformed(`the claim ${shown(pathText(inexact))} is a number of 2^53 or more, which loses digits: make it text`)
  const plainObject = typeof parameters === 'object' && parameters !== null && !Array.isArray(parameters)
  if (parameters !== undefined && !plainObject) throw malformed('the claim "parameters" must be an object')
  return { user, claims, expires: exp }
}

interface Verified {
  payload: JWTPayload
  policy: TokenPolicy
}

async function verified(token: string, rules: TokenRules, now: Date, options: VerifyOptions): Promise<Verified> {
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
        unusable = new RockpoolError('PSYNC_S2201', `the key ${shown(key.kid ?? 'without "kid"')} cannot be used for ${algorithm}`)
        continue
      }
      const payload = await payloadBy(imported, key.policy, token, algorithm, rules, now)
      if (payload) return { payload, policy: key.policy }
    }
    // A backend that makes its key at each start may give each the same `kid`.
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
  if (purpose === 'operator') return new RockpoolError('ROCKPOOL_OPERATOR', `this needs a token whose "typ" is ${OPERATOR_TYPE}`)
  return malformed(
    type === OPERATOR_TYPE ? 'an operator is no user: this is for tokens of users' : `a token of the type ${shown(type)} is none of a user`,
  )
}

/** Whether a token says that it is one of an operator. Nothing is verified. Throws PSYNC_S2101. */
export const saysOperator = (token: string): boolean => headerOf(token).type === OPERATOR_TYPE

function decoded(token: string): Record<string, unknown> {
  try {
    return { ...decodeProtectedHeader(token) }
  } catch (cause) {
    throw new RockpoolError('PSYNC_S2101', 'the token is malformed: its header is not base64url of JSON', { cause })
  }
}

/** Null: this key did not sign it. Throws what is wrong with a token that it did sign. */
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
    return new RockpoolError('PSYNC_S2101', `the claim ${JSON.stringify(error.claim)} ${missing ? 'is missing' : wrong}`, options)
  }
  if (error instanceof errors.JOSEError) return new RockpoolError('PSYNC_S2101', 'the token is malformed', options)
  return error
}

/** No key verified it. */
function unverified(candidates: Candidates, algorithm: string, kid: string | undefined): RockpoolError {
  if (candidates.named)
    return new RockpoolError('PSYNC_S2102', `the signature of the token is wrong: its key ${shown(kid)} did not make it`)
  // The key may be in the set that cannot be read: nothing is known about the token.
  if (candidates.unread) return candidates.unread
  if (kid !== undefined) {
    const others = candidates.keys.length === 0 ? '' : ', and no key without "kid" made its signature'
    return malformed(`there is no key with the "kid" ${shown(kid)} of the token${others}`)
  }
  if (candidates.keys.length > 0) return new RockpoolError('PSYNC_S2102', 'the signature of the token is wrong: no key of ours made it')
  return malformed(`the token has no "kid", and there is no key without "kid" for ${algorithm}`)
}

/** A subject that is no text counts by its text; booleans as 1 and 0. */
function userOf(sub: unknown): string {
  if (sub === null || sub === '') throw malformed('the claim "sub" is empty')
  // Two users whose numbers differ in digits that were lost would be one.
  if (typeof sub === 'number' && Number.isInteger(sub) && !Number.isSafeInteger(sub)) {
    throw malformed('the claim "sub" is a number above 2^53, which loses digits: make it text')
  }
  const user = typeof sub === 'string' ? sub : typeof sub === 'boolean' ? (sub ? '1' : '0') : JSON.stringify(sub)
  if (user.length > MAX_USER_LENGTH) throw malformed(`the claim "sub" is longer than ${MAX_USER_LENGTH} characters`)
  return user
}

const isSeconds = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value)

/** Claims that differ from one token of the same authorisation to the next. */
const passing = new Set(['iat', 'exp', 'nbf', 'jti'])

/** Whether two tokens give the same access: what a client may see follows from all other claims. */
export function sameAuthorisation(a: Session, b: Session): boolean {
  const lasting = ({ claims }: Session) =>
    JSON.stringify(
      Object.entries(claims)
        .filter(([name]) => !passing.has(name))
        .sort(byName),
    )
  return lasting(a) === lasting(b)
}

const byName = ([a]: [string, unknown], [b]: [string, unknown]): number => (a < b ? -1 : a > b ? 1 : 0)

/** What the token says about itself, cut: it goes back to whoever sent it. */
const shown = (value: unknown): string => {
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length > 100 ? `${text.slice(0, 100)}…` : text
}

const malformed = (message: string) => new RockpoolError('PSYNC_S2101', message)
