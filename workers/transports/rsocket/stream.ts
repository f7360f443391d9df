import type { StreamRequest } from '../../../protocol/lines.ts'
import type { Environment } from '../../../durable-objects/environment.ts'
import type { Tenant } from '../../../tenants/tenant.ts'
import type { Caller } from '../../auth/token.ts'
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

/** What is asked for, and by whom. `agent`: see `agentOf`. */
interface RSocketAsked {
  env: Environment
  tenant: Tenant
  caller: Caller
  agent: string | undefined
  request: StreamRequest
}

/** What a stream needs from its connection. */
export interface RSocketOutput {
  send(frame: Uint8Array): void
  /**
   * Called when a line was sent. Returns its number, and asks the client to confirm receipt when that is due (`urgent`:
   * at once).
   */
  count(bytes: number): number
  probe(): void
  /** Called when the client does not confirm that it receives what was sent. */
  silent(): void
  ended(streamId: number): void
}

/**
 * One REQUEST_STREAM. Sync lines are PAYLOAD frames with one BSON document each, whatever the MIME types, and never
 * more than were requested.
 */
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
    { env, tenant, caller, agent, request }: RSocketAsked,
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
      // The connection has its own keepalive.
      keepalive: false,
      agent,
      room: () => this.#until(() => this.#flow.hasRoom),
      ready: (bytes) => this.#until(() => this.#flow.allows(bytes)),
      write: (bytes) => this.#send(bytes),
      // This is a line like any other, so it waits for credit.
      expires: () => {
        this.#warning = true
        this.#warn()
      },
      end: ({ error }) => this.#stop.abort(error),
      pieces: (line) => cutData(line, () => this.#flow.lineLength),
    }
    countStream(env, tenant, caller)
      .then(() => {
        this.#stop.signal.throwIfAborted()
        this.#stream = openStream(env, tenant, caller, request, transport)
        return this.#stream.done
      })
      .catch((error: unknown) => this.#end(error))
  }

  /** Handles REQUEST_N. */
  request(n: number): void {
    this.#flow.request(n)
    this.#moved()
  }

  /** Called when the client has everything up to this line. */
  received(serial: number): void {
    this.#flow.received(serial)
    this.#moved()
  }

  /** Called for CANCEL, and when the socket has gone. */
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
   * Ends the stream: cleanly when it was asked to end, and silently when the client cancelled. Otherwise it sends the
   * error, in whose text clients look for the code. An end before the first line is an error too: after a clean end
   * SDKs would wait for that line for ever.
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
