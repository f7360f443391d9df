import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK } from 'jose'

/** Signs tokens of every kind, as identity providers and applications do. */
export interface Signer {
  algorithm: string
  /** The public key, as in a key set. */
  jwk: JWK
  /** Signs claims. Adds `aud`, `iat` and `exp` unless they are there. */
  sign(claims: Record<string, unknown>, header?: Record<string, unknown>): Promise<string>
}

/** Makes a signer with a new key pair for an algorithm. */
export async function signer(algorithm: string, audience: string, kid?: string): Promise<Signer> {
  const { publicKey, privateKey } = await generateKeyPair(algorithm, { extractable: true })
  const jwk = { ...(await exportJWK(publicKey)), ...(kid === undefined ? {} : { kid }) }
  return {
    algorithm,
    jwk,
    sign: (claims, header = {}) => signed(claims, { alg: algorithm, ...kidOf(kid), ...header }, privateKey, audience),
  }
}

/** Makes a signer with a secret. */
export function secretSigner(algorithm: string, secret: Uint8Array, audience: string, kid?: string): Signer {
  const jwk = { kty: 'oct', k: Buffer.from(secret).toString('base64url'), ...kidOf(kid) }
  return {
    algorithm,
    jwk,
    sign: (claims, header = {}) => signed(claims, { alg: algorithm, ...kidOf(kid), ...header }, secret, audience),
  }
}

const kidOf = (kid: string | undefined) => (kid === undefined ? {} : { kid })

function signed(
  claims: Record<string, unknown>,
  header: Record<string, unknown> & { alg: string },
  key: CryptoKey | Uint8Array,
  audience: string,
): Promise<string> {
  const now = Math.floor(Date.now() / 1_000)
  const all = { aud: audience, iat: now, exp: now + 3_600, ...claims }
  // Leaves out undefined claims.
  return new SignJWT(JSON.parse(JSON.stringify(all))).setProtectedHeader(header).sign(key)
}
