import { importJWK, type JWK } from 'jose'
import type { Permissions } from './permissions.ts'

/** What a token must satisfy besides its signature. Each key has its own policy, because identity providers differ. */
export interface TokenPolicy {
  /** A token must name at least one of these. */
  audiences: readonly string[]
  /** The longest `exp` − `iat`. */
  maxLifetimeSeconds: number
  /** When null, `iss` is not compared. */
  issuers: readonly string[] | null
  /** Of a key of operators: what the audit calls it, and what it permits. */
  operator?: { key: string; may: Permissions }
}

export type ImportedKey = Awaited<ReturnType<typeof importJWK>>

/** The algorithms with which tokens may be signed. `Ed25519` is the newer name of `EdDSA` with that curve. */
export const ALGORITHMS = [
  'HS256',
  'HS384',
  'HS512',
  'RS256',
  'RS384',
  'RS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
] as const

/** A secret that is shorter than the hash makes HMAC weaker than it looks (RFC 7518, section 3.2). */
export const MIN_SECRET_BYTES = 32
/** The minimum of WebCrypto and of RFC 7518, section 3.3. */
const MIN_RSA_BYTES = 256

/** A key that verifies signatures. It accepts the algorithms of its type, or only the one that it names. */
export class VerificationKey {
  /** When null, the key is tried for tokens without a `kid`, and for tokens whose `kid` no key has. */
  readonly kid: string | null
  readonly policy: TokenPolicy
  readonly #algorithms: readonly string[]
  readonly #jwk: JWK
  readonly #imported = new Map<string, ImportedKey>()

  constructor(jwk: JWK, kid: string | null, algorithms: readonly string[], policy: TokenPolicy) {
    this.#jwk = jwk
    this.kid = kid
    this.#algorithms = algorithms
    this.policy = policy
  }

  /** Equal for two keys that verify the same signatures, whatever they are called. A secret stands in it as it is. */
  get identity(): string {
    const { kty, k, crv, n, e, x, y } = this.#jwk
    // Text of base64url may have padding at its end, or none.
    const bytes = (text: string | undefined) =>
      text === undefined ? null : Buffer.from(text, 'base64url').toString('base64url')
    return JSON.stringify([kty, bytes(k), crv, ...[n, e, x, y].map(bytes)])
  }

  accepts(algorithm: string): boolean {
    return this.#algorithms.includes(algorithm)
  }

  /** The algorithms as text for people: `RS256, RS384, RS512`. */
  get algorithms(): string {
    return this.#algorithms.join(', ')
  }

  async imported(algorithm: string): Promise<ImportedKey> {
    const known = this.#imported.get(algorithm)
    if (known) return known
    const key = await importJWK(this.#jwk, algorithm)
    this.#imported.set(algorithm, key)
    return key
  }
}

/** Returns the key for a secret. It verifies HS256, HS384 and HS512, or only the given algorithms. */
export function secretKey(
  bytes: Uint8Array,
  policy: TokenPolicy,
  algorithms: readonly string[] = families.oct,
): VerificationKey {
  return new VerificationKey({ kty: 'oct', k: Buffer.from(bytes).toString('base64url') }, null, algorithms, policy)
}

const families = {
  oct: ['HS256', 'HS384', 'HS512'],
  RSA: ['RS256', 'RS384', 'RS512'],
}
const curves: Record<string, string> = { 'P-256': 'ES256', 'P-384': 'ES384', 'P-521': 'ES512' }
const ed25519 = ['EdDSA', 'Ed25519']

/** `reason` says why a key cannot verify tokens, and never contains the key. */
export type KeyOutcome = { kind: 'usable'; key: VerificationKey } | { kind: 'unusable'; reason: string }

const unusable = (reason: string): KeyOutcome => ({ kind: 'unusable', reason })

/**
 * Reads one key of a JSON Web Key Set. Symmetric keys are accepted only with `secrets`: a fetched key set must not hold
 * any.
 */
export function readKey(value: unknown, policy: TokenPolicy, { secrets }: { secrets: boolean }): KeyOutcome {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return unusable('is not an object')
  const jwk: Record<string, unknown> = { ...value }
  const text = (name: string): string => (typeof jwk[name] === 'string' ? jwk[name] : '')
  const { kty, use, key_ops: operations, kid } = jwk
  if (kid !== undefined && typeof kid !== 'string') return unusable('"kid" is not text')
  if (use !== undefined && use !== 'sig') return unusable('"use" is not "sig"')
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify')))
    return unusable('"key_ops" lacks "verify"')
  if (kty !== 'oct' && jwk['d'] !== undefined) return unusable('is a private key: give the public one')
  // `*` means the same as an absent kid.
  const name = kid === undefined || kid === '' || kid === '*' ? null : kid
  switch (kty) {
    case 'oct': {
      if (!secrets) return unusable('is symmetric')
      const bytes = bytesOf(text('k'))
      if (bytes < MIN_SECRET_BYTES)
        return unusable(`"k" has ${bytes} bytes of base64url; at least ${MIN_SECRET_BYTES} are needed`)
      return made({ kty, k: text('k') }, families.oct)
    }
    case 'RSA': {
      const bytes = bytesOf(text('n'))
      if (bytes < MIN_RSA_BYTES || bytesOf(text('e')) === 0) return unusable('is not an RSA key of at least 2048 bits')
      return made({ kty, n: text('n'), e: text('e') }, families.RSA)
    }
    case 'EC': {
      const algorithm = curves[text('crv')]
      if (algorithm === undefined) return unusable(`"crv" is none of ${Object.keys(curves).join(', ')}`)
      if (bytesOf(text('x')) === 0 || bytesOf(text('y')) === 0) return unusable('lacks "x" or "y"')
      return made({ kty, crv: text('crv'), x: text('x'), y: text('y') }, [algorithm])
    }
    case 'OKP':
      if (text('crv') !== 'Ed25519') return unusable('"crv" is not Ed25519')
      if (bytesOf(text('x')) !== 32) return unusable('"x" is not 32 bytes of base64url')
      return made({ kty, crv: text('crv'), x: text('x') }, ed25519)
    default:
      return unusable('"kty" is none of oct, RSA, EC, OKP')
  }

  function usable(members: JWK & { kty: string }, algorithms: readonly string[]): KeyOutcome {
    return { kind: 'usable', key: new VerificationKey(members, name, algorithms, policy) }
  }

  /** Takes only the members that are needed: the others of a key set do not matter here. */
  function made(members: JWK & { kty: string }, family: readonly string[]): KeyOutcome {
    const { alg } = jwk
    if (alg === undefined || alg === null) return usable(members, family)
    const named =
      family === ed25519 && family.some((each) => each === alg) ? family : family.filter((each) => each === alg)
    return named.length === 0 ? unusable(`"alg" is none of ${family.join(', ')}`) : usable(members, named)
  }
}

/** Returns the number of bytes of a base64url text, or 0 when it is not one. */
function bytesOf(text: string): number {
  return /^[A-Za-z0-9_-]+={0,2}$/.test(text) ? Buffer.from(text, 'base64url').length : 0
}
