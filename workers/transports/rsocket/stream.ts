import type { StreamRequest } from '../../../protocol/lines.ts'
import type { Environment } from '../../../durable-objects/environment.ts'
import type { Tenant } from '../../../tenants/tenant.ts'
import type { Session } from '../../auth/token.ts'
import { userError } from '../../errors.ts'
import { countStream } from '../../rates.ts'
import { bsonLines } from '../bson-lines.ts'
import { ended } from '../../stream/budget.ts'
import { Held } from '../../stream/held.ts'
import { PROBE_BYTES, RECEIPT_SECONDS } from '../../stream/limits.ts'
import { cutData } from '../lines.ts'
import { openStream, type OpenStream } from '../../stream/open-stream.ts'
import type { Transport } from '../transport.ts'
import { Flow } from './flow.ts'
import { completeFrame, ErrorCode, errorFrame, nextFrame } from './frames.ts'

/** What a stream needs of its connection. */
export interface RSocketOutput {
  send(frame: Uint8Array): void
  /** A line is on its way: answers its number, and asks the client for a sign of receipt when it is time (`urgent`: now). */
  count(bytes: number): number
  probe(): void
  /** The client does not show that it receives what was sent. */
  silent(): void
  ended(streamId: number): void
}

/** One REQUEST_STREAM: sync lines as PAYLOAD frames, one BSON document each whatever the MIME types, never more than were requested. */
export class RSocketStream {
  readonly #id: number
  readonly #output: RSocketOutput
  readonly #stop = new AbortController()
  readonly #held = new Held(PROBE_BYTES)
  readonly #flow = new Flow()
  #stream: OpenStream | null = null
  #wake: () => void = () => {}
  #warning = false
  #cancelled = false
  #begun = false

  constructor(
    id: number,
    output: RSocketOutput,
    initialN: number,
    { env, tenant, session, request }: { env: Environment; tenant: Tenant; session: Session; request: StreamRequest },
  ) {
    this.#id = id
    this.#output = output
    this.#flow.request(initialN)
    this.#stop.signal.addEventListener('abort', () => this.#wake())
    const transport: Transport<Uint8Array> = {
      signal: this.#stop.signal,
      encoder: bsonLines,
      join: null,
      held: this.#held,
      // The connection has its own.
      keepalive: false,
      room: () => this.#until(() => this.#flow.hasRoom),
      ready: (bytes) => this.#until(() => this.#flow.allows(bytes)),
      write: (bytes) => this.#send(bytes),
      // A line like any other: it waits for credit.
      expires: () => {
        this.#warning = true
        this.#warn()
      },
      end: ({ error }) => this.#stop.abort(error),
      pieces: (line) => cutData(line, () => this.#flow.lineLength),
    }
    countStream(env, tenant, session)
      .then(() => {
        this.#stop.signal.throwIfAborted()
        this.#stream = openStream(env, tenant, session, request, transport)
        return this.#stream.done
      })
      .catch((error: unknown) => this.#end(error))
  }

  /** REQUEST_N. */
  request(n: number): void {
    this.#flow.request(n)
    this.#moved()
  }

  /** The client has everything up to this line. */
  received(serial: number): void {
    this.#flow.received(serial)
    this.#moved()
  }

  /** CANCEL, or the socket has gone. */
  cancel(): void {
    this.#cancelled = true
    this.#stop.abort(ended('the receiver has gone'))
  }

  #moved(): void {
    this.#held.set('transport', this.#flow.outstanding)
    this.#warn()
    this.#wake()
  }

  #warn(): void {
    if (!this.#warning || this.#flow.credit === 0 || this.#stop.signal.aborted) return
    this.#warning = false
    this.#send(bsonLines.line({ token_expires_in: this.#stream?.expiresIn ?? 0 }))
  }

  async #until(allowed: () => boolean): Promise<void> {
    const { signal } = this.#stop
    while (!allowed() && !signal.aborted) {
      let timer: ReturnType<typeof setTimeout> | undefined
      if (this.#flow.credit > 0) {
        this.#output.probe()
        timer = setTimeout(() => this.#output.silent(), RECEIPT_SECONDS * 1_000)
      }
      await new Promise<void>((resolve) => (this.#wake = resolve))
      clearTimeout(timer)
    }
    signal.throwIfAborted()
  }

  #send(bytes: Uint8Array): void {
    this.#begun = true
    this.#flow.sent(this.#output.count(bytes.length), bytes.length)
    this.#held.set('transport', this.#flow.outstanding)
    this.#output.send(nextFrame(this.#id, bytes))
  }

  /**
   * Told to end: a clean one, and not a word to who has cancelled. Otherwise the error, whose code clients look for in the text. So it is before the
   * first line, too: SDKs that hear of a clean end go on waiting for that line for ever.
   */
  #end(error: unknown): void {
    this.#held.close()
    if (this.#stop.signal.aborted && this.#begun && !this.#cancelled) this.#output.send(completeFrame(this.#id))
    else if (!this.#cancelled) {
      this.#stop.abort(error)
      this.#output.send(errorFrame(this.#id, ErrorCode.APPLICATION_ERROR, errorText(error)))
    }
    this.#output.ended(this.#id)
  }
}

export function errorText(error: unknown): string {
  const { code, message } = userError(error)
  return `[${code}] ${message}`
}
