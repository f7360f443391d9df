import { Buffer } from 'node:buffer'
import { createHash, createHmac, pbkdf2Sync, randomBytes, timingSafeEqual } from 'node:crypto'
import { RockpoolError } from '../../../protocol/errors.ts'
import { preparePassword } from './password.ts'

// SCRAM-SHA-256-PLUS (RFC 5802, 7677 and 5929), which the driver does not speak. Between socket and driver it takes the login's place: what the server says
// of it stays here, and the driver hears that it is let in when the server has proved that it knows the password, and sees this very certificate.

export const Kind = { ok: 0, cleartext: 3, md5: 5, sasl: 10, saslContinue: 11, saslFinal: 12 } as const

/** Fewer make guessing a password from what a server has heard cheap. It is what Postgres has used ever since. */
export const MIN_ITERATIONS = 4_096
/** Production's WebCrypto takes no more, and each costs the object's thread. */
export const MAX_ITERATIONS = 100_000

const MECHANISM = 'SCRAM-SHA-256-PLUS'
const GS2_HEADER = 'p=tls-server-end-point,,'
const SERVER_FIRST = /^r=([!-+\--~]+),s=([A-Za-z0-9+/]+={0,2}),i=([1-9][0-9]{0,8})$/

export interface BoundLoginOptions {
  password: string
  /** Of the server's certificate, as `endPointOf` gives it. */
  endPoint: Uint8Array | null
  /** What asks for it, for messages: no other login is one then. Null: another login will do where this one is not offered. */
  required: string | null
  /** For messages: `host:port`. */
  server: string
  send(bytes: Uint8Array): void
}

type State = { at: 'begin' | 'proved' | 'not used' } | { at: 'first'; nonce: string; bare: string } | { at: 'final'; signature: Uint8Array }

export class BoundLogin {
  readonly #options: BoundLoginOptions
  #state: State = { at: 'begin' }

  constructor(options: BoundLoginOptions) {
    this.#options = options
  }

  /**
   * A request for authentication: what follows the length of the message, in which `kind` stands first. True: the driver is to see it. Throws ROCKPOOL_SOURCE_TLS
   * for whatever is out of place, ROCKPOOL_SOURCE_SETTINGS for a server that is not set up for it.
   */
  take(kind: number, body: Buffer): boolean {
    const state = this.#state
    switch (state.at) {
      case 'begin':
        return !this.#begin(kind, body)
      case 'first':
        if (kind !== Kind.saslContinue) throw this.#outOfPlace()
        this.#answer(state, body.toString('utf8', 4))
        return false
      case 'final':
        if (kind !== Kind.saslFinal || !sameProof(body.toString('utf8', 4), state.signature)) throw this.#outOfPlace()
        this.#state = { at: 'proved' }
        return false
      case 'proved':
        if (kind !== Kind.ok) throw this.#outOfPlace()
        return true
      case 'not used':
        return true
    }
  }

  /** False: another login, or none, which is the driver's. */
  #begin(kind: number, body: Buffer): boolean {
    const { endPoint, required, server, send } = this.#options
    const offered = kind === Kind.sasl && body.toString('utf8', 4).split('\0').includes(MECHANISM)
    if (!offered || endPoint === null) {
      const why = offered
        ? 'its certificate is signed in a way that names no hash to bind to (Ed25519): have it signed by RSA or ECDSA'
        : "it does not offer SCRAM-SHA-256-PLUS: SET password_encryption = 'scram-sha-256', set the role's password again, and write scram-sha-256 in pg_hba.conf"
      if (required !== null) throw new RockpoolError('ROCKPOOL_SOURCE_SETTINGS', `${required} cannot be had of ${server}: ${why}`)
      this.#state = { at: 'not used' }
      return false
    }
    const nonce = randomBytes(18).toString('base64')
    // Postgres takes the name from the startup packet.
    const bare = `n=*,r=${nonce}`
    const first = Buffer.from(GS2_HEADER + bare)
    const length = Buffer.alloc(4)
    length.writeUInt32BE(first.length)
    send(message(Buffer.from(`${MECHANISM}\0`), length, first))
    this.#state = { at: 'first', nonce, bare }
    return true
  }

  #answer({ nonce, bare }: { nonce: string; bare: string }, first: string): void {
    const { password, endPoint, send, server } = this.#options
    const found = SERVER_FIRST.exec(first)
    const [, both = '', salt = '', count = ''] = found ?? []
    if (!found || !both.startsWith(nonce) || both.length === nonce.length) throw this.#outOfPlace()
    const iterations = Number(count)
    if (iterations < MIN_ITERATIONS || iterations > MAX_ITERATIONS) {
      const problem = `${server} asks for ${iterations} iterations of SCRAM, and ${MIN_ITERATIONS} to ${MAX_ITERATIONS} are taken: set scram_iterations, then the role's password again`
      throw new RockpoolError('ROCKPOOL_SOURCE_SETTINGS', problem)
    }
    const salted = pbkdf2Sync(preparePassword(password), Buffer.from(salt, 'base64'), iterations, 32, 'sha256')
    const binding = Buffer.concat([Buffer.from(GS2_HEADER), endPoint ?? Buffer.alloc(0)]).toString('base64')
    const final = `c=${binding},r=${both}`
    const exchange = `${bare},${first},${final}`
    const clientKey = hmac(salted, 'Client Key')
    const signature = hmac(createHash('sha256').update(clientKey).digest(), exchange)
    const proof = Buffer.from(clientKey.map((byte, i) => byte ^ (signature[i] ?? 0))).toString('base64')
    this.#state = { at: 'final', signature: hmac(hmac(salted, 'Server Key'), exchange) }
    send(message(Buffer.from(`${final},p=${proof}`)))
  }

  #outOfPlace(): RockpoolError {
    const problem = `${this.#options.server} did not prove that it knows the password of the role, so nothing is asked of it`
    return new RockpoolError('ROCKPOOL_SOURCE_TLS', problem, { details: { reason: 'login' } })
  }
}

const hmac = (key: Uint8Array, text: string): Buffer => createHmac('sha256', key).update(text).digest()

/** `v=`, and the signature of the server. */
function sameProof(text: string, signature: Uint8Array): boolean {
  const found = /^v=([A-Za-z0-9+/]+={0,2})$/.exec(text)
  const given = Buffer.from(found?.[1] ?? '', 'base64')
  return given.length === signature.length && timingSafeEqual(given, signature)
}

/** SASLInitialResponse and SASLResponse. */
function message(...parts: Uint8Array[]): Buffer {
  const body = Buffer.concat(parts)
  const head = Buffer.alloc(5)
  head.write('p', 'latin1')
  head.writeUInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}
