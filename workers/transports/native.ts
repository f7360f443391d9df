import type { Environment } from '../../durable-objects/environment.ts'
import { RockpoolError } from '../../protocol/errors.ts'
import {
  CLOSE_BAD_FRAME,
  CLOSE_NORMAL,
  CLOSE_RECONNECT,
  CLOSE_SERVER_FAULT,
  CLOSE_UNAUTHORIZED,
  type ComparingLine,
  type ServerErrorFrame,
} from '../../protocol/native.ts'
import { tokenRules, type TokenRules } from '../auth/keys.ts'
import { sameAuthorisation, verifyToken, type Session } from '../auth/token.ts'
import { userError } from '../errors.ts'
import { countStream, guarded } from '../rates.ts'
import { boundedPorts } from '../stream/bounded.ts'
import { Budget, ended, streamSettings } from '../stream/budget.ts'
import { Credit } from '../stream/credit.ts'
import { laterFrame, openFrame, openToken } from './frames.ts'
import { Held } from '../stream/held.ts'
import { joinedLines } from './joined.ts'
import { Keepalive } from '../stream/keepalive.ts'
import { CREDIT_SECONDS, CREDIT_STEP_BYTES, MAX_EARLY_FRAMES } from '../stream/limits.ts'
import { lineText, textLines } from './lines.ts'
import { objectPorts, type ObjectPorts } from '../stream/objects.ts'
import type { StreamInput } from '../stream/ports.ts'
import { ownerOf, runStream } from '../stream/stream.ts'
import type { SocketProtocol } from './socket-protocol.ts'

/** The native protocol of the WebSocket: sync lines in text frames, paced by the client's credit. */
export class NativeStream implements SocketProtocol {
  readonly #env: Environment
  readonly #tenant: string
  readonly #socket: WebSocket
  readonly #address: string | null
  readonly #stop = new AbortController()
  readonly #held = new Held(CREDIT_STEP_BYTES)
  readonly #credit = new Credit()
  #credited: () => void = () => {}
  /** Frames that came while the token was being verified; null before the first frame, and when that is done. */
  #early: unknown[] | null = null
  #session: Session | null = null
  /** Renewals that came, and the last one of them that took effect: a key set may answer one later than the next. */
  #renewals = 0
  #renewed = 0
  #input: StreamInput | null = null
  #ports: ObjectPorts | null = null
  #keepalive: Keepalive | null = null
  /** See `ComparingLine`: what the client knows. */
  #comparing: number | null = null

  /** `address`: see `addressOf`. */
  constructor(env: Environment, tenant: string, socket: WebSocket, address: string | null = null) {
    this.#env = env
    this.#tenant = tenant
    this.#socket = socket
    this.#address = address
    void this.#held.ended.then((why) => this.#end(ended(why)))
  }

  receive(data: unknown): void {
    this.#receive(data).catch((error: unknown) => this.#end(error))
  }

  gone(): void {
    if (!this.#stop.signal.aborted) this.#finish(CLOSE_NORMAL, '', ended('the receiver has gone'))
  }

  async #receive(data: unknown): Promise<void> {
    if (this.#stop.signal.aborted) return
    if (this.#session) await this.#later(data)
    else if (!this.#early) await this.#begin(data)
    else if (this.#early.push(data) > MAX_EARLY_FRAMES) {
      throw new RockpoolError('ROCKPOOL_CLIENT_FRAME', `more than ${MAX_EARLY_FRAMES} frames before the token is verified`)
    }
  }

  /** The token first: what else is in the frame is parsed for those alone who have one. */
  async #begin(data: unknown): Promise<void> {
    const early = (this.#early = [])
    const token = openToken(data)
    const session = await guarded(this.#env, this.#address, (refresh) => verifyToken(token, tokenRules(this.#env), { refresh }))
    if (this.#stop.signal.aborted) return
    await countStream(this.#env, this.#tenant, session)
    if (this.#stop.signal.aborted) return
    const { request, credit, joined } = openFrame(data, token, streamSettings(this.#env).subscriptions)
    this.#session = session
    this.#credit.add(credit)
    this.#early = null
    for (const frame of early) this.receive(frame)
    await this.#open(request, session, joined)
  }

  async #later(data: unknown): Promise<void> {
    const frame = laterFrame(data)
    if ('credit' in frame) {
      this.#credit.add(frame.credit)
      this.#credited()
    } else await this.#renew(frame.token, tokenRules(this.#env))
  }

  /** The stream goes on with the new claims: its buckets are evaluated again, and differences follow as a diff. */
  async #renew(token: string, rules: TokenRules): Promise<void> {
    const renewal = ++this.#renewals
    const session = await verifyToken(token, rules)
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

  async #open(request: StreamInput['request'], session: Session, joined: boolean): Promise<void> {
    const budget = new Budget(streamSettings(this.#env), () => this.#end(ended('the stream has used up its budget')))
    this.#keepalive = new Keepalive(session.expires, {
      // It takes no credit: a sign of life must not wait.
      tell: (seconds) => this.#send(lineText({ token_expires_in: seconds })),
      expired: () => this.#end(new RockpoolError('PSYNC_S2103', 'the token has expired')),
    })
    const write = async (text: string): Promise<void> => {
      const bytes = Buffer.byteLength(text)
      await this.#until(() => this.#credit.allows(bytes))
      this.#credit.take(bytes)
      budget.bytes(bytes)
      this.#send(text)
    }
    const output = { signal: this.#stop.signal, room: () => this.#until(() => this.#credit.hasRoom), write }
    const lines = joinedLines(textLines, (each) => each.join('\n'), output, joined ? undefined : 0)
    this.#input = { request, claims: session.claims, user: session.user }
    const comparing = (fraction: number | null) => this.#compare(fraction)
    const objects = objectPorts(this.#env, this.#tenant, ownerOf(session, request), lines, budget, this.#held, comparing)
    this.#ports = boundedPorts(objects, this.#held)
    await runStream(this.#input, this.#ports)
  }

  /** Few and short: like signs of life they take no credit. */
  #compare(comparing: number | null): void {
    if (comparing === this.#comparing) return
    this.#comparing = comparing
    const line: ComparingLine = { comparing }
    this.#send(JSON.stringify(line))
  }

  /** `WebSocket.send` neither blocks nor reports: only the client's credit keeps a slow one from filling our memory. */
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

  /** Tells the client why, and closes. */
  #end(error: unknown): void {
    if (this.#stop.signal.aborted) return
    const { code, message } = userError(error)
    const frame: ServerErrorFrame = { error: { code, message } }
    this.#send(JSON.stringify(frame))
    this.#finish(closeCode(code), code, error)
  }

  #finish(code: number, reason: string, error: unknown): void {
    this.#keepalive?.stop()
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

function closeCode(code: string): number {
  if (code.startsWith('PSYNC_S21')) return CLOSE_UNAUTHORIZED
  if (code === 'PSYNC_S2003') return CLOSE_RECONNECT
  return code === 'ROCKPOOL_CLIENT_FRAME' || code === 'PSYNC_S2001' || code === 'ROCKPOOL_CREDIT' ? CLOSE_BAD_FRAME : CLOSE_SERVER_FAULT
}
