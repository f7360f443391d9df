import { importJWK, type JWK } from 'jose'

/** What a token must satisfy besides its signature. It goes with the key, because identity providers differ. */
export interface TokenPolicy {
  /** A token must name at least one of them. */
  audiences: readonly string[]
  /** `exp` − `iat` at most. */
  maxLifetimeSeconds: number
  /** Null: `iss` is not compared. */
  issuers: readonly string[] | null
}

export type ImportedKey = Awaited<ReturnType<typeof importJWK>>

/** The algorithms that tokens may be signed with. `Ed25519` is the newer name of `EdDSA` with that curve. */
export const ALGORITHMS = ['HS256', 'HS384', 'HS512', 'RS256', 'RS384', 'RS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'] as const

/** A secret shorter than the hash makes HMAC weaker than it looks (RFC 7518, section 3.2). */
export const MIN_SECRET_BYTES = 32
/** WebCrypto and RFC 7518, section 3.3. */
const MIN_RSA_BYTES = 256

/** A key that verifies signatures. It takes the algorithms of its type, or only the one that it names. */
export class VerificationKey {
  /** Null: a key for tokens whose `kid` no key has, and for those without one. */
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

  accepts(algorithm: string): boolean {
    return this.#algorithms.includes(algorithm)
  }

  /** For people: `RS256, RS384, RS512`. */
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

/** A secret of bytes that verifies HS256, HS384 and HS512, or only those given. */
export function secretKey(bytes: Uint8Array, policy: TokenPolicy, algorithms: readonly string[] = families.oct): VerificationKey {
  return new VerificationKey({ kty: 'oct', k: Buffer.from(bytes).toString('base64url') }, null, algorithms, policy)
}

const families = {
  oct: ['HS256', 'HS384', 'HS512'],
  RSA: ['RS256', 'RS384', 'RS512'],
}
const curves: Record<string, string> = { 'P-256': 'ES256', 'P-384': 'ES384', 'P-521': 'ES512' }
const ed25519 = ['EdDSA', 'Ed25519']

/**
 * Reads one key of a JSON Web Key Set. A text is the reason why it cannot verify tokens; it never contains the key.
 * `secrets`: whether symmetric keys are taken. A key set that is fetched never holds any.
 */
export function readKey(value: unknown, policy: TokenPolicy, { secrets }: { secrets: boolean }): VerificationKey | string {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'is not an object'
  const jwk: Record<string, unknown> = { ...value }
  const text = (name: string): string => (typeof jwk[name] === 'string' ? jwk[name] : '')
  const { kty, use, key_ops: operations, kid } = jwk
  if (kid !== undefined && typeof kid !== 'string') return '"kid" is not text'
  if (use !== undefined && use !== 'sig') return '"use" is not "sig"'
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify'))) return '"key_ops" lacks "verify"'
  if (kty !== 'oct' && jwk['d'] !== undefined) return 'is a private key: give the public one'
  // `*` says what an absent kid says.
  const name = kid === undefined || kid === '' || kid === '*' ? null : kid
  switch (kty) {
    case 'oct': {
      if (!secrets) return 'is symmetric'
      const bytes = bytesOf(text('k'))
      if (bytes < MIN_SECRET_BYTES) return `"k" has ${bytes} bytes of base64url; at least ${MIN_SECRET_BYTES} are needed`
      return made({ kty, k: text('k') }, families.oct)
    }
    case 'RSA': {
      const bytes = bytesOf(text('n'))
      if (bytes < MIN_RSA_BYTES || bytesOf(text('e')) === 0) return 'is not an RSA key of at least 2048 bits'
      return made({ kty, n: text('n'), e: text('e') }, families.RSA)
    }
    case 'EC': {
      const algorithm = curves[text('crv')]
      if (algorithm === undefined) return `"crv" is none of ${Object.keys(curves).join(', ')}`
      if (bytesOf(text('x')) === 0 || bytesOf(text('y')) === 0) return 'lacks "x" or "y"'
      return made({ kty, crv: text('crv'), x: text('x'), y: text('y') }, [algorithm])
    }
    case 'OKP':
      if (text('crv') !== 'Ed25519') return '"crv" is not Ed25519'
      if (bytesOf(text('x')) !== 32) return '"x" is not 32 bytes of base64url'
      return made({ kty, crv: text('crv'), x: text('x') }, ed25519)
    default:
      return '"kty" is none of oct, RSA, EC, OKP'
  }

  /** Only the members that are needed: what else a key set says is not ours to judge. */
  function made(members: JWK & { kty: string }, family: readonly string[]): VerificationKey | string {
    const { alg } = jwk
    if (alg === undefined || alg === null) return new VerificationKey(members, name, family, policy)
    const named = family === ed25519 && family.some((each) => each === alg) ? family : family.filter((each) => each === alg)
    return named.length === 0 ? `"alg" is none of ${family.join(', ')}` : new VerificationKey(members, name, named, policy)
  }
}

/** Bytes of a base64url text; 0 when it is none. */
function bytesOf(text: string): number {
  return /^[A-Za-z0-9_-]+={0,2}$/.test(text) ? Buffer.from(text, 'base64url').length : 0
}
