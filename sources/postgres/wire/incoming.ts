import { Buffer } from 'node:buffer'
import { RockpoolError } from '../../../protocol/errors.ts'
import { MAX_MESSAGE_BYTES } from '../copy/large-value.ts'
import { reduceChange, type Want } from '../stream/reduce-change.ts'
import { checkIterations, Kind, SERVER_FIRST, type BoundLogin } from './bound-login.ts'

/**
 * The longest message that answers a statement, in bytes. A longer one ends the connection, because nothing that we ask
 * for is that large.
 */
export const MAX_ANSWER_BYTES = 32 * 1024 * 1024
/** The longest message before the login is complete, in bytes. */
const MAX_LOGIN_BYTES = 64 * 1024
/** A longer message of replication, in bytes, goes through `reduceChange`. */
const MAX_CHANGE_BYTES = MAX_MESSAGE_BYTES

const AUTHENTICATION = 0x52
/** What else may arrive before the login is complete: an error, a notice, another minor version of the protocol. */
const BEFORE_LOGIN: ReadonlySet<number> = new Set([0x45, 0x4e, 0x76])
const COPY_DATA = 0x64
const HEADER = 5

export interface IncomingOptions {
  /** True when nobody in between can read or write: TLS with a verified certificate, or the loopback interface. */
  safe: boolean
  /** For messages: `host:port`. */
  server: string
  /** Logs in by SCRAM-SHA-256-PLUS where TLS is ours, before the driver is asked. */
  login?: BoundLogin | undefined
  /** Receives what the driver may see, in order. */
  emit(bytes: Uint8Array): void
}

/** Consumes a message. Returns null when nothing of it is passed to the driver. */
type Consumer = Generator<Want, Uint8Array | null, Uint8Array>

/**
 * Filters what the driver receives, because the driver joins messages of any size, and sends the password to any server
 * that asks. Large changes lose their large values, any other large message is an error, and a password is sent only
 * where nobody can listen.
 */
export class Incoming {
  readonly #options: IncomingOptions
  #authenticated = false
  #scram = false
  /** The beginning of a header that has arrived only in part. */
  #head: Uint8Array = new Uint8Array()
  /** Bytes of the message that have not arrived yet. */
  #left = 0
  #consumer: { steps: Consumer; want: Want; pieces: Uint8Array[]; missing: number; type: number } | null = null

  constructor(options: IncomingOptions) {
    this.#options = options
  }

  /** True when the login is complete. */
  get authenticated(): boolean {
    return this.#authenticated
  }

  /** Throws RockpoolError; nothing may be pushed after that. */
  push(chunk: Uint8Array): void {
    let bytes = chunk
    if (this.#head.length > 0) {
      bytes = Buffer.concat([this.#head, chunk])
      this.#head = new Uint8Array()
    }
    /** The offset of the first byte that has not been passed on. */
    let start = 0
    let at = 0
    const pass = (to: number) => {
      if (to > start) this.#options.emit(bytes.subarray(start, to))
      start = to
    }
    while (at < bytes.length) {
      if (this.#left > 0) {
        const size = Math.min(this.#left, bytes.length - at)
        this.#left -= size
        if (this.#consumer) {
          pass(at)
          this.#consume(bytes.subarray(at, at + size))
          start = at + size
        }
        at += size
        continue
      }
      if (bytes.length - at < HEADER) {
        pass(at)
        this.#head = bytes.slice(at)
        return
      }
      const type = bytes[at] ?? 0
      const length = new DataView(bytes.buffer, bytes.byteOffset + at + 1, 4).getUint32(0) - 4
      const steps = this.#consumerOf(type, length)
      this.#left = length
      if (steps) {
        pass(at)
        start = at + HEADER
        this.#begin(type, steps)
      }
      at += HEADER
    }
    pass(at)
  }

  #consumerOf(type: number, length: number): Consumer | null {
    if (!this.#authenticated) {
      if (length < 0 || length > MAX_LOGIN_BYTES || (type !== AUTHENTICATION && !BEFORE_LOGIN.has(type))) {
        throw new RockpoolError(
          'ROCKPOOL_SOURCE_UNREACHABLE',
          `${this.#options.server} does not speak the protocol of Postgres`,
        )
      }
      return type === AUTHENTICATION ? this.#login(length) : null
    }
    if (type === COPY_DATA && length > MAX_CHANGE_BYTES) return reduceChange(length)
    if (length < 0 || length > MAX_ANSWER_BYTES) {
      throw new RockpoolError(
        'ROCKPOOL_SOURCE_UNREACHABLE',
        `Postgres sent an answer of ${length} bytes, more than ${MAX_ANSWER_BYTES}: the connection was ended`,
      )
    }
    return null
  }

  /**
   * Checks the server's request for authentication. Throws when it asks for the password and somebody may listen, or
   * when it cuts a login short.
   */
  *#login(length: number): Consumer {
    const { safe, server, login } = this.#options
    const bytes = Buffer.from(yield { take: length })
    const kind = length >= 4 ? bytes.readUInt32BE() : -1
    if (login && !login.take(kind, bytes)) return null
    if ((kind === Kind.cleartext || kind === Kind.md5) && !safe) {
      throw new RockpoolError(
        'ROCKPOOL_SOURCE_SETTINGS',
        `${server} asks for the password ${kind === Kind.md5 ? 'as MD5' : 'in clear text'} on a connection whose certificate was not verified, so it is not sent: use sslmode=verify-full, or SCRAM (SET password_encryption = 'scram-sha-256', then set the role's password again, and scram-sha-256 in pg_hba.conf)`,
      )
    }
    if (kind === Kind.sasl) this.#scram = true
    // The driver would send a proof for any count. From one for few iterations an impostor guesses the password
    // cheaply.
    if (kind === Kind.saslContinue && !safe)
      checkIterations(Number(SERVER_FIRST.exec(bytes.toString('latin1', 4))?.[3]), server)
    if (kind === Kind.saslFinal) this.#scram = false
    if (kind === Kind.ok) {
      // The driver would accept this as a login, although the server has not proved that it knows the password.
      if (this.#scram)
        throw new RockpoolError('ROCKPOOL_SOURCE_SETTINGS', `${server} did not prove that it knows the password`)
      this.#authenticated = true
    }
    return bytes
  }

  #begin(type: number, steps: Consumer): void {
    this.#consumer = { steps, want: { take: 0 }, pieces: [], missing: 0, type }
    this.#next(steps.next())
    if (this.#consumer) this.#consume(new Uint8Array())
  }

  #next({ done, value }: IteratorResult<Want, Uint8Array | null>): void {
    const consumer = this.#consumer
    if (!consumer) return
    if (done) {
      this.#consumer = null
      if (value === null) return
      const header = Buffer.alloc(HEADER)
      header[0] = consumer.type
      header.writeUInt32BE(value.length + 4, 1)
      this.#options.emit(Buffer.concat([header, value]))
      return
    }
    consumer.want = value
    consumer.missing = 'take' in value ? value.take : value.skip
    consumer.pieces = []
  }

  #consume(bytes: Uint8Array): void {
    let at = 0
    while (this.#consumer) {
      const consumer = this.#consumer
      const size = Math.min(consumer.missing, bytes.length - at)
      // A copy, so that a kept piece does not keep its whole network buffer in memory.
      if ('take' in consumer.want && size > 0) consumer.pieces.push(bytes.slice(at, at + size))
      at += size
      consumer.missing -= size
      if (consumer.missing > 0) break
      const [only] = consumer.pieces
      this.#next(consumer.steps.next(consumer.pieces.length === 1 && only ? only : Buffer.concat(consumer.pieces)))
    }
    if (!this.#consumer && at < bytes.length) throw mismatch()
    if (this.#consumer && this.#left === 0) throw mismatch()
  }
}

const mismatch = () =>
  new RockpoolError('ROCKPOOL_PGOUTPUT', 'a message of Postgres is shorter or longer than its header says')
