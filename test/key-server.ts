import { createServer, type ServerResponse } from 'node:http'
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK } from 'jose'

/** An identity provider's key set over HTTP, which can be made to misbehave. Counts the requests. */
export interface KeyServer {
  readonly url: string
  /** Requests that came. */
  requests: number
  /** What is answered from now on. */
  answer: (response: ServerResponse) => void
  publish(...keys: JWK[]): void
  /** Closes it; nothing listens at its address any more. */
  close(): Promise<void>
}

export async function startKeyServer(): Promise<KeyServer> {
  const http = createServer((_request, response) => {
    server.requests++
    server.answer(response)
  })
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  const address = http.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const server: KeyServer = {
    url: `http://127.0.0.1:${address.port}/keys.json`,
    requests: 0,
    answer: (response) => response.end('{"keys":[]}'),
    publish(...keys) {
      server.answer = (response) => response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ keys }))
    },
    async close() {
      http.closeAllConnections()
      await new Promise((resolve) => http.close(resolve))
    },
  }
  return server
}

export interface Signer {
  algorithm: string
  /** The public key, as a key set lists it. */
  jwk: JWK
  /** Signs claims; `aud`, `iat` and `exp` are added unless they are given. */
  sign(claims: Record<string, unknown>, header?: Record<string, unknown>): Promise<string>
}

/** A new key pair for an algorithm. */
export async function signer(algorithm: string, audience: string, kid?: string): Promise<Signer> {
  const { publicKey, privateKey } = await generateKeyPair(algorithm, { extractable: true })
  const jwk = { ...(await exportJWK(publicKey)), ...(kid === undefined ? {} : { kid }) }
  return {
    algorithm,
    jwk,
    sign: (claims, header = {}) => signed(claims, { alg: algorithm, ...kidOf(kid), ...header }, privateKey, audience),
  }
}

/** Signs with a secret. */
export function secretSigner(algorithm: string, secret: Uint8Array, audience: string, kid?: string): Signer {
  const jwk = { kty: 'oct', k: Buffer.from(secret).toString('base64url'), ...kidOf(kid) }
  return { algorithm, jwk, sign: (claims, header = {}) => signed(claims, { alg: algorithm, ...kidOf(kid), ...header }, secret, audience) }
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
  // A claim that is undefined is left out.
  return new SignJWT(JSON.parse(JSON.stringify(all))).setProtectedHeader(header).sign(key)
}
