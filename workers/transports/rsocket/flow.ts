import { MAX_UNTAKEN_BYTES, READ_LENGTH, SMALLEST_LINE, TRUSTED_LINES } from '../../stream/limits.ts'

/** A request-n that means "unlimited". */
const UNBOUNDED = 0x7fffffff

/**
 * Answers of a connection that no request-n bounds: those to KEEPALIVE, and refusals. A client that asks and never
 * reads would fill our memory with them, so they count as in flight until it has confirmed that it received them.
 */
export class Answers {
  #sent: { serial: number; bytes: number }[] = []
  #bytes = 0

  /** Bytes in flight. */
  get bytes(): number {
    return this.#bytes
  }

  sent(serial: number, bytes: number): void {
    this.#sent.push({ serial, bytes })
    this.#bytes += bytes
  }

  /** See `Flow.received`. */
  received(serial: number): void {
    for (const answer of this.#sent) if (answer.serial <= serial) this.#bytes -= answer.bytes
    this.#sent = this.#sent.filter((answer) => answer.serial > serial)
  }
}

/**
 * Decides what may be sent on one RSocket stream. The client's request-n counts lines, and `WebSocket.send` never
 * blocks, so nothing bounds bytes: ten lines may be megabytes. Bytes are in flight until the client is known to have
 * them: it requests another line for each that it has consumed, and its runtime answers KEEPALIVE frames in order with
 * everything else (`received`).
 */
export class Flow {
  #credit = 0
  /** Lines that were sent and are not known to be received, the oldest first. */
  readonly #lines: { serial: number; bytes: number }[] = []
  #outstanding = 0
  #answers = false

  /** Bytes in flight. */
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

  /**
   * Called when the client has answered a KEEPALIVE that was sent after this line, so that it has all lines up to it.
   */
  received(serial: number): void {
    this.#answers = true
    const kept = this.#lines.findIndex((line) => line.serial > serial)
    this.#drop(kept < 0 ? this.#lines.length : kept)
  }

  /** Returns whether a line of this many bytes may be sent. */
  allows(bytes: number): boolean {
    if (this.#credit === 0) return false
    if (this.#outstanding === 0 || this.#outstanding + bytes <= MAX_UNTAKEN_BYTES) return true
    // The lines of this client are cut so small that all it has requested fit, so a line that is too large is a single
    // op.
    return !this.#answers && this.#lines.length + this.#credit <= TRUSTED_LINES
  }

  get hasRoom(): boolean {
    return this.allows(READ_LENGTH)
  }

  /**
   * Returns the UTF-16 units of the next data line. A client that has never confirmed receipt must be able to get all
   * that it has requested without
   * confirming: it may request more only when half of that has arrived.
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
