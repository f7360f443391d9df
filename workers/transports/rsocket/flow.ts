import { MAX_UNTAKEN_BYTES, READ_LENGTH, SMALLEST_LINE, TRUSTED_LINES } from '../../stream/limits.ts'

/** A request-n that means "without end". */
const UNBOUNDED = 0x7fffffff

/**
 * Answers of a connection that no request-n bounds: to KEEPALIVE, and refusals. A client that asks and never reads would fill our memory with them, so they are on
 * their way until it has shown that it received them.
 */
export class Answers {
  #sent: { serial: number; bytes: number }[] = []
  #bytes = 0

  /** On their way. */
  get bytes(): number {
    return this.#bytes
  }

  sent(serial: number, bytes: number): void {
    this.#sent.push({ serial, bytes })
    this.#bytes += bytes
  }

  /** As `Flow.received`. */
  received(serial: number): void {
    for (const answer of this.#sent) if (answer.serial <= serial) this.#bytes -= answer.bytes
    this.#sent = this.#sent.filter((answer) => answer.serial > serial)
  }
}

/**
 * What may be sent on one RSocket stream. The client's request-n counts lines, and a `WebSocket.send` never blocks, so it does not bound bytes:
 * ten lines may be megabytes. Bytes are on their way until the client is known to have them: it requests another line for each that it has
 * consumed, and its runtime answers KEEPALIVE frames in order with everything else (`received`).
 */
export class Flow {
  #credit = 0
  /** Sent, and not known to be received; the oldest first. */
  readonly #lines: { serial: number; bytes: number }[] = []
  #outstanding = 0
  #answers = false

  /** Bytes. */
  get outstanding(): number {
    return this.#outstanding
  }

  get credit(): number {
    return this.#credit
  }

  /** REQUEST_N, or the initial number. */
  request(n: number): void {
    this.#credit = Math.min(this.#credit + n, UNBOUNDED)
    this.#drop(Math.min(n, this.#lines.length))
  }

  /** The client has answered a KEEPALIVE that was sent behind this line: it has all lines up to it. */
  received(serial: number): void {
    this.#answers = true
    const kept = this.#lines.findIndex((line) => line.serial > serial)
    this.#drop(kept < 0 ? this.#lines.length : kept)
  }

  /** Whether a line of so many bytes may be sent. */
  allows(bytes: number): boolean {
    if (this.#credit === 0) return false
    if (this.#outstanding === 0 || this.#outstanding + bytes <= MAX_UNTAKEN_BYTES) return true
    // Lines of this client were cut so that all it has requested fits; what is too large now is a single op.
    return !this.#answers && this.#lines.length + this.#credit <= TRUSTED_LINES
  }

  get hasRoom(): boolean {
    return this.allows(READ_LENGTH)
  }

  /**
   * UTF-16 units of the next data line. A client that is not known to answer must be able to get all that it has requested without a sign: it
   * may request more only when half of it has come.
   */
  get lineLength(): number {
    if (this.#answers) return READ_LENGTH
    const share = Math.floor((MAX_UNTAKEN_BYTES - this.#outstanding) / Math.max(this.#credit, 1))
    return Math.max(SMALLEST_LINE, Math.min(share, READ_LENGTH))
  }

  sent(serial: number, bytes: number): void {
    this.#credit -= 1
    this.#lines.push({ serial, bytes })
    this.#outstanding += bytes
  }

  #drop(count: number): void {
    for (const line of this.#lines.splice(0, count)) this.#outstanding -= line.bytes
  }
}
