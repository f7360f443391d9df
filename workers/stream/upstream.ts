import type { Environment } from '../../durable-objects/environment.ts'
import { relayStub } from '../../durable-objects/shared/namespaces.ts'
import { answered, callDeadline } from '../../durable-objects/shared/retry.ts'
import {
  CLOSE_BUCKET_FENCED,
  CLOSE_RELAY_FULL,
  CLOSE_REVOKED,
  CLOSE_TENANT,
  CLOSE_USER_STREAMS,
  PING,
  PONG,
  admittedFrame,
  relayFrame,
  type AckFrame,
  type RelayFrame,
  type TokenFrame,
} from '../../protocol/messages/relay.ts'
import { MESSAGE_VERSION } from '../../protocol/versions.ts'
import { RockpoolError } from '../../protocol/errors.ts'
import { relayName } from '../../protocol/names.ts'
import type { Tenant } from '../../tenants/tenant.ts'
import { ended, type Budget } from './budget.ts'
import type { Held } from './held.ts'
import { ACKNOWLEDGE_BYTES, UPSTREAM_PING_SECONDS } from './limits.ts'
import type { Upstream } from './ports.ts'
import { relayUrl, sourceHeader, type RelayChoice, type StreamOwner } from './relay-order.ts'

/** Callbacks about received messages. `comparing`: see `objectPorts`. */
export interface Telling {
  budget: Budget
  held: Held
  comparing(fraction: number | null): void
  /** The relay has accepted the stream with its token. */
  greeted(): void
  /** The token of the `TokenFrame` with this `seq` is accepted. */
  admitted(seq: number): void
}

/**
 * Opens a socket to one of the tenant's relays: that of the user, or the next one that is not full. Throws PSYNC_S2003
 * when all are full, so that the client comes back later, and any other error when the socket cannot be opened.
 */
export async function openUpstream(
  env: Environment,
  tenant: Tenant,
  owner: StreamOwner,
  signal: AbortSignal,
  tell: Telling,
  relays: RelayChoice,
): Promise<RelaySocket> {
  for (let n = relays.next; n !== undefined; n = relays.next) {
    const socket = await openRelay(env, tenant, relayName(tenant.name, 'main', n), owner, tell.budget)
    if (socket) return new RelaySocket(socket, signal, tell, () => relays.full())
    relays.full()
  }
  throw ended('every relay is full: come back later')
}

/** Returns null when the relay is full (503). Throws PSYNC_S2304 when it has too many streams of this user (429). */
function openRelay(
  env: Environment,
  tenant: Tenant,
  name: string,
  owner: StreamOwner,
  budget: Budget,
): Promise<WebSocket | null> {
  budget.call()
  return answered(async (attempt) => {
    const headers = { upgrade: 'websocket', ...sourceHeader(owner) }
    const response = await relayStub(env, tenant, name).fetch(relayUrl(owner), { headers })
    if (response.status === 503) return null
    if (response.status === 429) throw refused(response.headers)
    if (response.status === 404) throw noTenant()
    if (!response.webSocket) throw new Error(`relay ${name} answered ${response.status}`)
    response.webSocket.accept()
    // Nobody waits for this socket any more, and the relay must not count it.
    if (attempt.expired) response.webSocket.close(1000)
    return response.webSocket
  }, callDeadline(env))
}

const fenced = () =>
  new RockpoolError(
    'ROCKPOOL_BUCKET_FENCED',
    'a bucket of this client lacks changes, which come later: what you have stays; come back in a while',
  )
const revoked = () => new RockpoolError('PSYNC_S2107', 'the token was revoked')
const noTenant = () => new RockpoolError('PSYNC_S2002', 'there is nothing at this address')
/** An older relay says neither whose streams are too many nor for how long. */
function refused(headers: Headers): RockpoolError {
  const retryAfter = Number(headers.get('retry-after')) || null
  if (headers.get('rockpool-limit-of') !== 'tenant') return tooMany('this user has too many streams open', retryAfter)
  return new RockpoolError('ROCKPOOL_LIMIT', 'there is no room for another stream: come back later', {
    details: { retryAfter },
  })
}

const tooMany = (message: string, retryAfter: number | null = null) =>
  new RockpoolError('PSYNC_S2304', message, retryAfter === null ? {} : { details: { retryAfter } })

export class RelaySocket implements Upstream {
  readonly #socket: WebSocket
  readonly #tell: Telling
  readonly #frames: { frame: RelayFrame; bytes: number }[] = []
  readonly #timer: ReturnType<typeof setInterval>
  #received = 0
  #taken = 0
  #acknowledged = 0
  #silent = 0
  #fallen = false
  /** The reason why no other socket will be opened. */
  #final: RockpoolError | null = null
  #latest: RelayFrame | null = null
  #wake: () => void = () => {}

  /** `full` is called when the relay closes the socket because it has no room. */
  constructor(socket: WebSocket, signal: AbortSignal, tell: Telling, full: () => void) {
    this.#socket = socket
    this.#tell = tell
    socket.addEventListener('message', (event) => this.#receive(event.data))
    socket.addEventListener('close', ({ code }) => {
      if (code === CLOSE_USER_STREAMS)
        this.#final = tooMany('this user has too many streams open: a newer one takes the place of this one')
      if (code === CLOSE_BUCKET_FENCED) this.#final = fenced()
      if (code === CLOSE_TENANT) this.#final = noTenant()
      if (code === CLOSE_REVOKED) this.#final = revoked()
      if (code === CLOSE_RELAY_FULL && !this.#fallen) full()
      this.close()
    })
    socket.addEventListener('error', () => this.close())
    this.#timer = setInterval(() => this.#ping(), UPSTREAM_PING_SECONDS * 1_000)
    // The stream may have ended while the socket was opened.
    if (signal.aborted) this.close()
    else signal.addEventListener('abort', () => this.close(), { once: true })
  }

  get waiting(): number {
    return this.#frames.length
  }

  send(frame: Parameters<Upstream['send']>[0] | TokenFrame): void {
    this.#send(JSON.stringify(frame))
  }

  async next(): Promise<RelayFrame | null> {
    for (;;) {
      const first = this.#frames.shift()
      if (first) {
        this.#acknowledge(first.bytes)
        return first.frame
      }
      this.throwIfFinal()
      if (this.#fallen) return null
      await new Promise<void>((resolve) => (this.#wake = resolve))
    }
  }

  /** Throws when the stream has ended, whatever it waits for. */
  throwIfFinal(): void {
    if (this.#final) throw this.#final
  }

  /** Acts as if the relay had repeated its checkpoint, so that the stream evaluates its buckets again. */
  again(): void {
    if (this.#fallen || !this.#latest) return
    this.#frames.push({ frame: this.#latest, bytes: 0 })
    this.#wake()
  }

  close(): void {
    if (this.#fallen) return
    this.#fallen = true
    clearInterval(this.#timer)
    try {
      this.#socket.close(1000)
    } catch {
      // It was closed already.
    }
    this.#wake()
  }

  #receive(data: unknown): void {
    this.#silent = 0
    if (typeof data !== 'string' || data === PONG) return
    this.#tell.budget.call()
    const frame = relayFrameOf(data)
    if (!frame) {
      const admitted = admittedFrame(data)
      return admitted ? this.#tell.admitted(admitted.seq) : this.close()
    }
    if (!this.#latest) this.#tell.greeted()
    const moves = !this.#latest || isNews(frame, this.#latest)
    // Without its buckets: the stream has the states of the first answer already.
    this.#latest = { ...frame, seq: null, buckets: [] }
    this.#tell.comparing(frame.comparing ?? null)
    const bytes = Buffer.byteLength(data)
    this.#received += bytes
    // A checkpoint that is being sent is interrupted when a message waits here.
    if (!moves) return this.#acknowledge(bytes)
    this.#frames.push({ frame, bytes })
    this.#tell.held.set('upstream', this.#received - this.#taken)
    this.#wake()
  }

  /** Acknowledges messages when they are taken, not when they arrive: that bounds the queue. */
  #acknowledge(bytes: number): void {
    this.#taken += bytes
    this.#tell.held.set('upstream', this.#received - this.#taken)
    if (this.#taken - this.#acknowledged < ACKNOWLEDGE_BYTES) return
    this.#acknowledged = this.#taken
    const ack: AckFrame = { v: MESSAGE_VERSION, type: 'ack', received: this.#taken }
    this.#send(JSON.stringify(ack))
  }

  #ping(): void {
    this.#tell.held.alive()
    if (this.#silent++ >= 2) this.close()
    else this.#send(PING)
  }

  #send(text: string): void {
    if (this.#fallen) return
    this.#tell.budget.call()
    try {
      this.#socket.send(text)
    } catch {
      this.close()
    }
  }
}

/** Returns whether a message says more than the progress of a comparison. */
const isNews = (frame: RelayFrame, { checkpoint, plan }: RelayFrame): boolean =>
  frame.checkpoint !== checkpoint || frame.plan !== plan || frame.seq !== null || frame.buckets.length > 0

/** The last parsed message: many streams receive the same text for a change. */
let latest: { text: string; frame: Readonly<RelayFrame> } | null = null

/** Returns null for a message that is not understood. The socket is then opened again, perhaps to newer code. */
export function relayFrameOf(text: string): Readonly<RelayFrame> | null {
  if (latest?.text === text) return latest.frame
  const frame = relayFrame(text)
  if (frame) latest = { text, frame }
  return frame
}
