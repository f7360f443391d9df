import { errors, jwtVerify, type JWTPayload } from 'jose'
import { RockpoolError } from '../../protocol/errors.ts'
import type { TokenRules } from './keys.ts'

/** Who asks, as a verified token says. */
export interface Session {
  /** `sub` as text: part of the key of write checkpoints. */
  user: string
  /** The whole payload. */
  claims: Record<string, unknown>
  /** `exp`: seconds since 1970. */
  expires: number
}

/** Clocks of an identity provider and ours may differ so much. */
const CLOCK_TOLERANCE_SECONDS = 60
const MAX_LIFETIME_SECONDS = 86_400

/**
 * The token of an `Authorization` header: `Token <jwt>` or `Bearer <jwt>`, case-sensitive, one space. Throws PSYNC_S2106.
 */
export function tokenOfHeader(header: string | null | undefined): string {
  if (!header) throw new RockpoolError('PSYNC_S2106', 'the Authorization header is missing')
  const token = /^(?:Token|Bearer) (\S+)$/.exec(header)?.[1]
  if (!token) throw new RockpoolError('PSYNC_S2106', 'the Authorization header must be `Token <jwt>` or `Bearer <jwt>`')
  return token
}

/**
 * Verifies a token: HS256; `sub`, `iat`, `exp` and `aud` are required; it may live for a day at most. `now` only for tests.
 * Throws PSYNC_S2101 (malformed, claim missing, other algorithm), S2102 (signature), S2103 (expired), S2104 (lives too long), S2105 (`aud`).
 */
export async function verifyToken(token: string, rules: TokenRules, now = new Date()): Promise<Session> {
  const payload = await verified(token, rules, now)
  const { sub, iat, exp, parameters } = payload as Record<string, unknown>
  const user = userOf(sub)
  if (user === null) throw malformed('the claim "sub" is missing')
  if (typeof iat !== 'number' || typeof exp !== 'number') throw malformed('the claims "iat" and "exp" must be numbers')
  if (exp - iat > MAX_LIFETIME_SECONDS) {
    throw new RockpoolError('PSYNC_S2104', `the token lives for ${exp - iat} seconds; at most ${MAX_LIFETIME_SECONDS} are allowed`)
  }
  const plainObject = typeof parameters === 'object' && parameters !== null && !Array.isArray(parameters)
  if (parameters !== undefined && !plainObject) throw malformed('the claim "parameters" must be an object')
  return { user, claims: { ...payload }, expires: exp }
}

async function verified(token: string, rules: TokenRules, now: Date): Promise<JWTPayload> {
  try {
    const { payload } = await jwtVerify(token, rules.key, {
      algorithms: ['HS256'],
      audience: rules.audiences,
      requiredClaims: ['iat', 'exp'],
      clockTolerance: CLOCK_TOLERANCE_SECONDS,
      currentDate: now,
    })
    return payload
  } catch (error) {
    throw tokenError(error)
  }
}

function tokenError(error: unknown): unknown {
  const options = { cause: error }
  if (error instanceof errors.JWTExpired) return new RockpoolError('PSYNC_S2103', 'the token has expired', options)
  if (error instanceof errors.JWSSignatureVerificationFailed) {
    return new RockpoolError('PSYNC_S2102', 'the signature of the token is wrong', options)
  }
  if (error instanceof errors.JWTClaimValidationFailed) {
    const code = error.claim === 'aud' ? 'PSYNC_S2105' : 'PSYNC_S2101'
    return new RockpoolError(
      code,
      `the claim ${JSON.stringify(error.claim)} is ${error.reason === 'missing' ? 'missing' : 'wrong'}`,
      options,
    )
  }
  if (error instanceof errors.JOSEAlgNotAllowed) return new RockpoolError('PSYNC_S2101', 'the token must be signed with HS256', options)
  if (error instanceof errors.JOSEError) return new RockpoolError('PSYNC_S2101', 'the token is malformed', options)
  return error
}

/** A subject that is no text counts by its text; booleans as 1 and 0. */
function userOf(sub: unknown): string | null {
  if (sub === undefined || sub === null || sub === '') return null
  if (typeof sub === 'string') return sub
  if (typeof sub === 'boolean') return sub ? '1' : '0'
  return JSON.stringify(sub)
}

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

const malformed = (message: string) => new RockpoolError('PSYNC_S2101', message)
