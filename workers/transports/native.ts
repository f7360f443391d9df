import type { Environment } from '../../durable-objects/environment.ts'
import { RockpoolError } from '../../protocol/errors.ts'
import type { StreamRequest } from '../../protocol/lines.ts'
import {
  CLOSE_BAD_FRAME,
  CLOSE_NORMAL,
  CLOSE_RECONNECT,
  CLOSE_SERVER_FAULT,
  CLOSE_UNAUTHORIZED,
  type ComparingLine,
  type ServerErrorFrame,
} from '../../protocol/native.ts'
import type { Tenant } from '../../tenants/tenant.ts'
import { rulesOf } from '../auth/tenant-rules.ts'
import { verifyToken, type Caller } from '../auth/token.ts'
import { userError } from '../errors.ts'
import { countStream, guarded } from '../rates.ts'
import { ended } from '../stream/budget.ts'
import { Credit } from '../stream/credit.ts'
import { laterFrame, openFrame, openToken } from './frames.ts'
import { Held } from '../stream/held.ts'
import { CREDIT_SECONDS, CREDIT_STEP_BYTES, MAX_EARLY_FRAMES } from '../stream/limits.ts'
import { lineText, textLines } from './lines.ts'
import { openStream, type OpenStream } from '../stream/open-stream.ts'
import type { SocketProtocol } from './socket-protocol.ts'
import type { StreamEnd, Transport } from './transport.ts'

/** The native WebSocket protocol: sync lines in text frames, paced by the client's credit. */
export class NativeStream implements SocketProtocol {
  readonly #env: Environment
  readonly #tenant: Tenant
  readonly #socket: WebSocket
  readonly #address: string | null
  readonly #agent: string | undefined
  readonly #stop = new AbortController()
  readonly #held = new Held(CREDIT_STEP_BYTES)
  readonly #credit = new Credit()
  #credited: () => void = () => {}
  /** Frames that arrived while the token was being verified; null before the first frame and after the verification. */
  #early: unknown[] | null = null
  #caller: Caller | null = null
  /**
   * The number of renewals received, and the last that took effect: a slow key set may let a later one finish first.
   */
  #renewals = 0
  #renewed = 0
  #stream: OpenStream | null = null
  /** The last `ComparingLine` that the client was sent. */
  #comparing: number | null = null

  /** `address`: see `addressOf`. `agent`: see `agentOf`. */
  constructor(
    env: Environment,
    tenant: Tenant,
    socket: WebSocket,
    address: string | null = null,
    agent: string | undefined = undefined,
  ) {
    this.#env = env
    this.#tenant = tenant
    this.#socket = socket
    this.#address = address
    this.#agent = agent
  }

  receive(data: unknown): void {
    this.#receive(data).catch((error: unknown) => this.#end(error))
  }

  gone(): void {
    if (!this.#stop.signal.aborted) this.#finish(CLOSE_NORMAL, '', ended('the receiver has gone'))
  }

  async #receive(data: unknown): Promise<void> {
    if (this.#stop.signal.aborted) return
    if (this.#caller) await this.#later(data)
    else if (!this.#early) await this.#begin(data)
    else if (this.#early.push(data) > MAX_EARLY_FRAMES) {
      throw new RockpoolError(
        'ROCKPOOL_CLIENT_FRAME',
        `more than ${MAX_EARLY_FRAMES} frames before the token is verified`,
      )
    }
  }

  /** Verifies the token first. The rest of the frame is parsed only when it is valid. */
  async #begin(data: unknown): Promise<void> {
    const early = (this.#early = [])
    const token = openToken(data)
    const caller = await guarded(this.#env, this.#address, async (refresh) =>
      verifyToken(token, await rulesOf(this.#env, this.#tenant), { refresh }),
    )
    if (this.#stop.signal.aborted) return
    await countStream(this.#env, this.#tenant, caller)
    if (this.#stop.signal.aborted) return
    const { request, credit, joined } = openFrame(data, token, this.#tenant.streams.subscriptions)
    this.#caller = caller
    this.#credit.add(credit)
    this.#early = null
    for (const frame of early) this.receive(frame)
    await this.#open(request, caller, joined)
  }

  async #later(data: unknown): Promise<void> {
    const frame = laterFrame(data)
    if ('credit' in frame) {
      this.#credit.add(frame.credit)
      this.#credited()
    } else await this.#renew(frame.token)
  }

  /** Continues the stream with the new claims: its buckets are evaluated again, and differences follow as a diff. */
  async #renew(token: string): Promise<void> {
    const renewal = ++this.#renewals
    const caller = await verifyToken(token, await rulesOf(this.#env, this.#tenant))
    if (this.#stop.signal.aborted || renewal < this.#renewed || !this.#caller) return
    if (caller.user !== this.#caller.user) {
      throw new RockpoolError('PSYNC_S2101', 'a token of another user cannot renew this stream: connect again with it')
    }
    this.#renewed = renewal
    await this.#stream?.renew(caller)
  }

  async #open(request: StreamRequest, caller: Caller, joined: boolean): Promise<void> {
    const transport: Transport<string> = {
      signal: this.#stop.signal,
      encoder: textLines,
      join: joined ? (lines) => lines.join('\n') : null,
      held: this.#held,
      keepalive: true,
      agent: this.#agent,
      room: () => this.#until(() => this.#credit.hasRoom),
      ready: (bytes) => this.#until(() => this.#credit.allows(bytes)),
      write: (text, bytes) => {
        this.#credit.take(bytes)
        this.#send(text)
      },
      // A keepalive takes no credit, because it must not wait.
      expires: (seconds) => this.#send(lineText({ token_expires_in: seconds })),
      end: (why) => this.#end(errorOf(why)),
      comparing: (fraction) => this.#compare(fraction),
    }
    this.#stream = openStream(this.#env, this.#tenant, caller, request, transport)
    await this.#stream.done
  }

  /** These lines are few and short. Like keepalives, they take no credit. */
  #compare(comparing: number | null): void {
    if (comparing === this.#comparing) return
    this.#comparing = comparing
    const line: ComparingLine = { comparing }
    this.#send(JSON.stringify(line))
  }

  /**
   * `WebSocket.send` neither blocks nor reports, so only the client's credit prevents a slow one from filling our
   * memory.
   */
  async #until(allowed: () => boolean): Promise<void> {
    this.#held.set('transport', this.#credit.outstanding)
    while (!allowed() && !this.#stop.signal.aborted) {
      const late = () => this.#end(new RockpoolError('ROCKPOOL_CREDIT', `no credit came for ${CREDIT_SECONDS} seconds`))
      const timer = setTimeout(late, CREDIT_SECONDS * 1_000)
      await new Promise<void>((resolve) => (this.#credited = resolve))
      clearTimeout(timer)
      this.#held.set('transport', this.#credit.outstanding)
    }
    this.#stop.signal.throwIfAborted()
  }

  #send(text: string): void {
    this.#held.set('transport', this.#credit.outstanding)
    try {
      this.#socket.send(text)
    } catch {
      this.gone()
    }
  }

  /** Sends the client the reason, and closes. */
  #end(error: unknown): void {
    if (this.#stop.signal.aborted) return
    const { code, message } = userError(error)
    const frame: ServerErrorFrame = { error: { code, message } }
    this.#send(JSON.stringify(frame))
    this.#finish(closeCode(code), code, error)
  }

  #finish(code: number, reason: string, error: unknown): void {
    this.#held.close()
    this.#stop.abort(error)
    this.#credited()
    try {
      this.#socket.close(code, reason)
    } catch {
      // It was closed already.
    }
  }
}

/** Returns the error for a native client, whose code says that it needs another token when its own has expired. */
const errorOf = ({ kind, error }: StreamEnd): RockpoolError =>
  kind === 'expired' ? new RockpoolError('PSYNC_S2103', 'the token has expired') : error

function closeCode(code: string): number {
  if (code.startsWith('PSYNC_S21')) return CLOSE_UNAUTHORIZED
  if (code === 'PSYNC_S2003') return CLOSE_RECONNECT
  return code === 'ROCKPOOL_CLIENT_FRAME' || code === 'PSYNC_S2001' || code === 'ROCKPOOL_CREDIT'
    ? CLOSE_BAD_FRAME
    : CLOSE_SERVER_FAULT
}
