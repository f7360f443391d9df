import { Buffer } from 'node:buffer'
import { createHash, createHmac, pbkdf2Sync, randomBytes, timingSafeEqual } from 'node:crypto'
import { RockpoolError } from '../../../protocol/errors.ts'
import { preparePassword } from './password.ts'

// SCRAM-SHA-256-PLUS (RFC 5802, 7677 and 5929), which the driver does not support. It logs in between the socket and
// the driver: the messages of the login stay here, and the driver hears that it is authenticated only after the server
// has proved that it knows the password and presents this very certificate.

export const Kind = { ok: 0, cleartext: 3, md5: 5, sasl: 10, saslContinue: 11, saslFinal: 12 } as const

/**
 * The fewest iterations. With fewer it is cheap to guess the password from the messages of the login. This is the
 * default of Postgres.
 */
export const MIN_ITERATIONS = 4_096
/** The most iterations. WebCrypto in production allows no more, and each one blocks the object's thread. */
export const MAX_ITERATIONS = 100_000

/** Throws ROCKPOOL_SOURCE_SETTINGS for a count that is not accepted. `server` is for the message: `host:port`. */
export function checkIterations(count: number, server: string): void {
  if (count >= MIN_ITERATIONS && count <= MAX_ITERATIONS) return
  throw new RockpoolError(
    'ROCKPOOL_SOURCE_SETTINGS',
    `${server} asks for ${count} iterations of SCRAM, and ${MIN_ITERATIONS} to ${MAX_ITERATIONS} are accepted: set scram_iterations, then the role's password again`,
  )
}

const MECHANISM = 'SCRAM-SHA-256-PLUS'
const GS2_HEADER = 'p=tls-server-end-point,,'
/**
 * The server's first message of SCRAM: nonce, salt, iterations, and no extensions, of which the driver would take the
 * last.
 */
export const SERVER_FIRST = /^r=([!-+\--~]+),s=([A-Za-z0-9+/]+={0,2}),i=([1-9][0-9]{0,8})$/

export interface BoundLoginOptions {
  password: string
  /** The end point of the server's certificate, as `endPointOf` returns it. */
  endPoint: Uint8Array | null
  /** What requires a bound login, for messages. Null when another login is allowed where this one is not offered. */
  required: string | null
  /** For messages: `host:port`. */
  server: string
  send(bytes: Uint8Array): void
}

type State =
  | { at: 'begin' | 'proved' | 'not used' }
  | { at: 'first'; nonce: string; bare: string }
  | { at: 'final'; signature: Uint8Array }

export class BoundLogin {
  readonly #options: BoundLoginOptions
  #state: State = { at: 'begin' }

  constructor(options: BoundLoginOptions) {
    this.#options = options
  }

  /**
   * Processes a request for authentication. `body` is what follows the length of the message, and begins with `kind`.
   * Returns true when the driver is to see it. Throws ROCKPOOL_SOURCE_TLS for a message that is out of place,
   * ROCKPOOL_SOURCE_SETTINGS for a server that is not configured for a bound login.
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

  /** Returns false for another login, or none, which the driver handles. */
  #begin(kind: number, body: Buffer): boolean {
    const { endPoint, required, server, send } = this.#options
    const offered = kind === Kind.sasl && body.toString('utf8', 4).split('\0').includes(MECHANISM)
    if (!offered || endPoint === null) {
      const why = offered
        ? 'the signature of its certificate names no hash to bind to (Ed25519): use a certificate that is signed by RSA or ECDSA'
        : "it does not offer SCRAM-SHA-256-PLUS: SET password_encryption = 'scram-sha-256', set the role's password again, and write scram-sha-256 in pg_hba.conf"
      if (required !== null)
        throw new RockpoolError('ROCKPOOL_SOURCE_SETTINGS', `${required} is not possible with ${server}: ${why}`)
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
    checkIterations(iterations, server)
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
    const problem = `${this.#options.server} did not prove that it knows the password of the role, so it is not used`
    return new RockpoolError('ROCKPOOL_SOURCE_TLS', problem, { details: { reason: 'login' } })
  }
}

const hmac = (key: Uint8Array, text: string): Buffer => createHmac('sha256', key).update(text).digest()

/** Compares `v=` and the signature of the server. */
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
