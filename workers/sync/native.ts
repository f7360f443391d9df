import type { Environment } from '../../durable-objects/environment.ts'
import { RockpoolError } from '../../protocol/errors.ts'
import {
  CLOSE_BAD_FRAME,
  CLOSE_NORMAL,
  CLOSE_RECONNECT,
  CLOSE_SERVER_FAULT,
  CLOSE_UNAUTHORIZED,
  type ServerErrorFrame,
} from '../../protocol/native.ts'
import { tokenRules, type TokenRules } from '../auth/keys.ts'
import { sameAuthorisation, verifyToken, type Session } from '../auth/token.ts'
import { publicError } from '../errors.ts'
import { Budget, ended } from './budget.ts'
import { laterFrame, openFrame } from './frames.ts'
import { Keepalive } from './keepalive.ts'
import { CREDIT_SECONDS, MAX_CREDIT_BYTES, OPEN_FRAME_SECONDS } from './limits.ts'
import { dataText, lineText } from './lines.ts'
import { objectPorts, type ObjectPorts } from './objects.ts'
import { runStream, type StreamInput } from './stream.ts'

/** The native WebSocket of `/sync/stream`. */
export function nativeStream(env: Environment, tenant: string): Response {
  const [client, server] = Object.values(new WebSocketPair())
  if (!client || !server) throw new RockpoolError('ROCKPOOL_INTERNAL', 'the runtime made no pair of sockets')
  server.accept()
  new NativeStream(env, tenant, server)
  return new Response(null, { status: 101, webSocket: client })
}

class NativeStream {
  readonly #env: Environment
  readonly #tenant: string
  readonly #socket: WebSocket
  readonly #stop = new AbortController()
  readonly #budget = new Budget(() => this.#end(ended('the stream has used up its budget')))
  readonly #openTimer: ReturnType<typeof setTimeout>
  #credit = 0
  #credited: () => void = () => {}
  /** Null until the first frame. */
  #opening: Promise<Session> | null = null
  #session: Session | null = null
  /** Renewals that came, and the last one of them that took effect: a key set may answer one later than the next. */
  #renewals = 0
  #renewed = 0
  #input: StreamInput | null = null
  #ports: ObjectPorts | null = null
  #keepalive: Keepalive | null = null

  constructor(env: Environment, tenant: string, socket: WebSocket) {
    this.#env = env
    this.#tenant = tenant
    this.#socket = socket
    const late = new RockpoolError('ROCKPOOL_CLIENT_FRAME', `no open frame came within ${OPEN_FRAME_SECONDS} seconds`)
    this.#openTimer = setTimeout(() => this.#end(late), OPEN_FRAME_SECONDS * 1_000)
    socket.addEventListener('message', (event) => {
      this.#receive(event.data).catch((error: unknown) => this.#end(error))
    })
    socket.addEventListener('close', () => this.#gone())
    socket.addEventListener('error', () => this.#gone())
  }

  async #receive(data: unknown): Promise<void> {
    if (this.#stop.signal.aborted) return
    const rules = tokenRules(this.#env)
    if (!this.#opening) {
      clearTimeout(this.#openTimer)
      const { request, token, credit } = openFrame(data)
      this.#credit = Math.min(credit, MAX_CREDIT_BYTES)
      this.#opening = verifyToken(token, rules)
      return this.#open(request, await this.#opening)
    }
    const frame = laterFrame(data)
    if ('credit' in frame) {
      this.#credit = Math.min(this.#credit + frame.credit, MAX_CREDIT_BYTES)
      this.#credited()
    } else await this.#renew(frame.token, rules)
  }

  /** The stream goes on with the new claims: its buckets are evaluated again, and differences follow as a diff. */
  async #renew(token: string, rules: TokenRules): Promise<void> {
    const renewal = ++this.#renewals
    const session = await verifyToken(token, rules)
    await this.#opening
    if (this.#stop.signal.aborted || renewal < this.#renewed || !this.#session) return
    if (session.user !== this.#session.user) {
      throw new RockpoolError('PSYNC_S2101', 'a token of another user cannot renew this stream: connect again with it')
    }
    this.#renewed = renewal
    const same = sameAuthorisation(session, this.#session)
    this.#session = session
    this.#keepalive?.renew(session.expires)
    if (same || !this.#input) return
    this.#input.claims = session.claims
    this.#ports?.again()
  }

  async #open(request: StreamInput['request'], session: Session): Promise<void> {
    if (this.#stop.signal.aborted) return
    this.#session = session
    this.#keepalive = new Keepalive(session.expires, {
      // It takes no credit: a sign of life must not wait.
      tell: (seconds) => this.#send(lineText({ token_expires_in: seconds })),
      expired: () => this.#end(new RockpoolError('PSYNC_S2103', 'the token has expired')),
    })
    const lines = {
      signal: this.#stop.signal,
      send: (line: Parameters<typeof lineText>[0]) => this.#write(lineText(line)),
      data: (line: Parameters<typeof dataText>[0]) => this.#write(dataText(line)),
    }
    this.#input = { request, claims: session.claims, user: session.user }
    this.#ports = objectPorts(this.#env, this.#tenant, lines, this.#budget)
    await runStream(this.#input, this.#ports)
  }

  /** `WebSocket.send` neither blocks nor reports: only the client's credit keeps a slow one from filling our memory. */
  async #write(text: string): Promise<void> {
    const late = new RockpoolError('ROCKPOOL_CREDIT', `no credit came for ${CREDIT_SECONDS} seconds`)
    while (this.#credit <= 0 && !this.#stop.signal.aborted) {
      const timer = setTimeout(() => this.#end(late), CREDIT_SECONDS * 1_000)
      await new Promise<void>((resolve) => (this.#credited = resolve))
      clearTimeout(timer)
    }
    this.#stop.signal.throwIfAborted()
    const bytes = Buffer.byteLength(text)
    this.#credit -= bytes
    this.#budget.bytes(bytes)
    this.#send(text)
  }

  #send(text: string): void {
    try {
      this.#socket.send(text)
    } catch {
      this.#gone()
    }
  }

  /** Tells the client why, and closes. */
  #end(error: unknown): void {
    if (this.#stop.signal.aborted) return
    const { code, message } = publicError(error)
    const frame: ServerErrorFrame = { error: { code, message } }
    this.#send(JSON.stringify(frame))
    this.#finish(closeCode(code), code, error)
  }

  #gone(): void {
    if (!this.#stop.signal.aborted) this.#finish(CLOSE_NORMAL, '', ended('the receiver has gone'))
  }

  #finish(code: number, reason: string, error: unknown): void {
    clearTimeout(this.#openTimer)
    this.#keepalive?.stop()
    this.#stop.abort(error)
    this.#credited()
    try {
      this.#socket.close(code, reason)
    } catch {
      // It was closed already.
    }
  }
}

function closeCode(code: string): number {
  if (code.startsWith('PSYNC_S21')) return CLOSE_UNAUTHORIZED
  if (code === 'PSYNC_S2003') return CLOSE_RECONNECT
  return code === 'ROCKPOOL_CLIENT_FRAME' || code === 'PSYNC_S2001' || code === 'ROCKPOOL_CREDIT' ? CLOSE_BAD_FRAME : CLOSE_SERVER_FAULT
}
