import { DurableObject } from 'cloudflare:workers'
import {
  CLOSE_BUCKET_FENCED,
  CLOSE_RELAY_FULL,
  CLOSE_REVOKED,
  CLOSE_TENANT,
  CLOSE_USER_STREAMS,
  PING,
  PONG,
  SOCKET_CREDIT,
  SOURCE_HEADER,
  type AckFrame,
  type AdmittedFrame,
  type RelayRpc,
  replicatorFrame,
  streamFrame,
} from '../../protocol/messages/relay.ts'
import type { RelayClients, StreamSource } from '../../protocol/messages/census.ts'
import type { TokenMark, ToldRevocation } from '../../protocol/revocations.ts'
import { MESSAGE_VERSION, type Versioned } from '../../protocol/versions.ts'
import { bucketObjectName } from '../../protocol/names.ts'
import { partOfRelay, relaysFor } from '../../tenants/budget.ts'
import { tenantOfObject, type OwnTenant } from '../../tenants/of-object.ts'
import type { Tenant } from '../../tenants/tenant.ts'
import type { Environment } from '../environment.ts'
import { enableFaults, faultPoint, asyncFaultPoint } from '../shared/fault-points.ts'
import { bucketStub, placedAt, replicatorStub, type Placed } from '../shared/namespaces.ts'
import { objectName } from '../shared/object-name.ts'
import { closeQuietly, sendQuietly, socketPair } from '../shared/sockets.ts'
import { answered, callDeadline, untilAnswered } from '../shared/retry.ts'
import { checkVersion } from '../shared/version.ts'
import { censusOf } from '../census/calls.ts'
import { REPORT_MS, shownClients, sourceOf } from './clients.ts'
import type { ReplicatorAttachment, StreamAttachment } from './attachments.ts'
import { admit, type StreamUser } from './users.ts'
import { RelayMachine } from './machine.ts'
import { Marks, packMarks } from './marks.ts'
import type { RelayPorts } from './ports.ts'
import { remembered } from './remembered.ts'
import { rooms } from './room.ts'
import { StreamLevels } from './stream-levels.ts'
import { TokenChecks } from './token-checks.ts'

const STREAM = 'stream'
const REPLICATOR = 'replicator'
/** Acknowledgements are sent after this many bytes. The replicator stops at four times as many unacknowledged ones. */
const ACKNOWLEDGE_BYTES = 64 * 1024
/** How long a relay without streams keeps its state, because clients come back. */
const LINGER_MS = 30_000
/** A stream pings every 30 s. One that is silent for this long is dead. */
const SILENT_MS = 5 * 60_000
/** How often the relay checks whether it may hibernate; the platform waits 10 s anyway. */
const AWAKE_MS = 5_000
const FIRST_WAIT_MS = 50
const MAX_WAIT_MS = 5_000
/** Failures in a row before one is logged: an object that is moved or restarted fails a few times. */
const ATTEMPTS_BEFORE_REPORT = 4

/**
 * One relay: connects the sockets of streams and of the replicator to the machine. It stores nothing; attachments of
 * sockets survive hibernation. The file is long because it is the list of everything that can happen to the object:
 * calls, messages, closed sockets, alarms, timers.
 */
export class Relay extends DurableObject<Environment> implements RelayRpc {
  readonly #tenant: OwnTenant
  readonly #name: string
  readonly #machine: RelayMachine<WebSocket>
  readonly #streams = new Map<WebSocket, StreamAttachment>()
  readonly #checks: TokenChecks<WebSocket>
  #marks = new Marks()
  #replicator: { socket: WebSocket; state: ReplicatorAttachment; acknowledged: number } | null = null
  #linger: ReturnType<typeof setTimeout> | null = null
  #awake: ReturnType<typeof setInterval> | null = null
  #looking = false
  #reported = 0
  readonly #told: StreamLevels

  constructor(ctx: DurableObjectState, env: Environment) {
    super(ctx, env)
    enableFaults(env.FAULTS)
    this.#name = objectName(ctx)
    this.#tenant = tenantOfObject(env, this.#name)
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair(PING, PONG))
    const effects: RelayPorts<WebSocket> = {
      send: (socket, frame) => {
        const text = JSON.stringify(frame)
        const state = this.#streams.get(socket)
        if (!state) return
        state.sent += Buffer.byteLength(text)
        state.comparing = frame.comparing
        state.position = frame.checkpoint
        this.#saveStream(socket, state)
        sendQuietly(socket, text)
        this.#stayAwakeSoon()
      },
      hasCredit: (socket) => {
        const state = this.#streams.get(socket)
        return state !== undefined && state.sent - state.received <= SOCKET_CREDIT
      },
      close: (socket, reason, why) => {
        this.#checks.gone(socket)
        this.#streams.delete(socket)
        closeQuietly(socket, why ? { full: CLOSE_RELAY_FULL, fenced: CLOSE_BUCKET_FENCED }[why] : 1012, reason)
      },
      mark: (name) => this.#marks.of(name),
      saveStream: (socket, { marks, toldPlan, form, owing }) => {
        const state = this.#streams.get(socket)
        if (!state) return
        Object.assign(state, { marks: packMarks(marks), toldPlan, form, owing })
        this.#saveStream(socket, state)
      },
      saveCheckpoint: (checkpoint, plan, fenced, comparing) => {
        if (!this.#replicator) return
        Object.assign(this.#replicator.state, {
          checkpoint,
          plan,
          fenced: fenced.length > 0,
          fencedMarks: packMarks(fenced),
          comparing,
        })
        this.#saveReplicator()
      },
      ask: (bucket, checkpoint, stale, answer) => {
        void this.#untilAnswered(async () => {
          await asyncFaultPoint('relay.ask', { object: this.ctx })
          const stub = bucketStub(this.env, this.#placed, await bucketObjectName(this.#tenant.name, bucket))
          return stub.state({ v: MESSAGE_VERSION, checkpoint })
        }, stale).then((state) => {
          if (state === null) return answer(null)
          if (state.kind === 'state') answer({ count: state.count, checksum: state.checksum, last: state.last })
          else if (state.kind === 'gone') answer({ count: 0, checksum: 0, last: 0 })
          else answer('overtaken')
        })
      },
      attach: (done) => {
        const request = { v: MESSAGE_VERSION, relay: this.#name }
        void this.#untilAnswered(() => replicatorStub(this.env, this.#placed).attach(request)).then(done)
      },
      committed: (answer) => void this.#checks.question().then((serving) => answer(serving?.checkpoint ?? 0)),
    }
    this.#checks = new TokenChecks({
      ask: (tokens) =>
        this.#untilAnswered(() => replicatorStub(this.env, this.#placed).committed({ v: MESSAGE_VERSION, tokens })),
      streams: () => this.#tokens(),
      end: (socket) => this.#end(socket, CLOSE_REVOKED, 'the token was revoked'),
      admitted: (socket, seq) => {
        const frame: AdmittedFrame = { v: MESSAGE_VERSION, type: 'admitted', seq }
        sendQuietly(socket, JSON.stringify(frame))
      },
      saveRevision: (revision) => {
        if (!this.#replicator) return
        this.#replicator.state.revision = revision
        this.#saveReplicator()
      },
    })
    this.#machine = new RelayMachine(effects, rooms.of(this.#name))
    this.#told = new StreamLevels((level, streams) => this.#tell(level, streams))
    this.#wake()
  }

  async streams(request: Versioned): Promise<number> {
    checkVersion(request)
    return this.#streams.size
  }

  async clients(request: Versioned): Promise<RelayClients> {
    checkVersion(request)
    const streams = [...this.#streams]
    return shownClients(streams.map(([socket, state]) => [state, this.#machine.bucketsOf(socket)]))
  }

  async dismiss(request: Versioned): Promise<number> {
    checkVersion(request)
    return this.#dismissed()
  }

  async revoke({ revision, ...request }: Versioned & ToldRevocation & { revision: number }): Promise<number> {
    checkVersion(request)
    const ended = this.#checks.revoked(request, revision)
    this.#stayAwake()
    this.#lingerWhenAlone()
    return ended
  }

  /** The tenant is not served: all streams end, and nothing is left that would wake the object. */
  async #dismissed(): Promise<number> {
    const streams = [...this.#streams.keys()]
    for (const socket of streams) this.#end(socket, CLOSE_TENANT, 'the tenant is not served')
    const open = this.#replicator
    this.#replicator = null
    if (open) closeQuietly(open.socket, 1000, 'the tenant is not served')
    this.#machine.forget()
    this.#stayAwake()
    await this.ctx.storage.deleteAlarm()
    return streams.length
  }

  override async fetch(request: Request): Promise<Response> {
    if (request.headers.get('upgrade') !== 'websocket') return new Response('a WebSocket is expected', { status: 426 })
    const path = new URL(request.url).pathname
    if (path === '/stream') {
      const tenant = await this.#tenant.find().catch(notFound)
      if (tenant === null) return new Response('no such tenant', { status: 404 })
      const source = sourceOf(request.headers.get(SOURCE_HEADER))
      return this.#acceptStream(new URL(request.url).searchParams, tenant, source)
    }
    if (path === '/replicator') {
      const response = this.#acceptReplicator()
      // It may have been attached too late to be told.
      this.#checks.heard(Number(new URL(request.url).searchParams.get('revision') ?? 0))
      return response
    }
    return new Response('no such path', { status: 404 })
  }

  /** Closes the socket when a message could not be processed, so that its sender knows. */
  override async webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): Promise<void> {
    try {
      this.#message(socket, message)
    } catch (error) {
      console.error(`relay ${this.#name}: a message failed`, error)
      closeQuietly(socket, 1011, 'a message failed')
      await this.webSocketClose(socket)
    }
  }

  #message(socket: WebSocket, message: string | ArrayBuffer): void {
    if (typeof message !== 'string') return
    if (this.#replicator?.socket === socket) {
      const frame = replicatorFrame(message)
      if (!frame) return void this.webSocketClose(socket)
      faultPoint('relay.message', { object: this.ctx, drop: () => closeQuietly(socket, 1011, 'a fault') })
      this.#replicator.state.received += Buffer.byteLength(message)
      this.#machine.receive(frame)
      this.#acknowledge()
      this.#stayAwake()
      return
    }
    const state = this.#streams.get(socket)
    if (!state) return closeQuietly(socket, 1012, 'not known any more')
    const frame = streamFrame(message)
    if (!frame) return closeQuietly(socket, 1003, 'a frame was not understood')
    faultPoint('relay.subscribe', { object: this.ctx, drop: () => closeQuietly(socket, 1011, 'a fault') })
    if (frame.type === 'ack') {
      state.received = Math.max(state.received, frame.received)
      this.#saveStream(socket, state)
      this.#machine.flush(socket)
    } else if (frame.type === 'token') {
      Object.assign(state, { jti: frame.jti, iat: frame.iat })
      this.#saveStream(socket, state)
      const token = tokenOf(state)
      if (token) this.#checks.renewed(socket, token, frame.seq)
    } else this.#machine.subscribe(socket, frame)
    this.#stayAwake()
  }

  override async webSocketClose(socket: WebSocket): Promise<void> {
    closeQuietly(socket, 1000, '')
    if (this.#replicator?.socket === socket) {
      this.#replicator = null
      this.#wakeReplicator()
    }
    this.#checks.gone(socket)
    if (this.#streams.delete(socket)) {
      this.#machine.streamGone(socket)
      this.#report()
    }
    this.#stayAwake()
    this.#lingerWhenAlone()
  }

  /** Tells the Census how many streams there are. Nothing depends on it, so nobody waits and nothing is repeated. */
  #report(): void {
    const now = Date.now()
    if (now - this.#reported < REPORT_MS) return
    this.#reported = now
    const report = { relay: this.#name, streams: this.#streams.size }
    const told = censusOf(this.env, this.#placed, callDeadline(this.env))?.report(report)
    if (told) this.ctx.waitUntil(told.catch(() => {}))
  }

  /** Wakes a replicator that died in a session: only its own loop would open the socket again. */
  #wakeReplicator(): void {
    if (!this.#alone) return
    const replicator = () => replicatorStub(this.env, this.#placed)
    void this.#untilAnswered(
      () => replicator().wake({ v: MESSAGE_VERSION }),
      () => !this.#alone,
    )
  }

  override async webSocketError(socket: WebSocket): Promise<void> {
    await this.webSocketClose(socket)
  }

  /** Closes streams without a sign of life: their sockets are half-open. */
  override async alarm(): Promise<void> {
    const before = Date.now() - SILENT_MS
    for (const [socket, { since }] of [...this.#streams]) {
      const heard = this.ctx.getWebSocketAutoResponseTimestamp(socket)?.getTime() ?? since
      if (heard < before) await this.webSocketClose(socket)
    }
    if (this.#streams.size > 0) await this.ctx.storage.setAlarm(Date.now() + SILENT_MS)
  }

  /**
   * `user` and `client` are hashes. Responds with 503 when the relay is full, and 429 when this user, or the tenant,
   * has too many streams.
   */
  #acceptStream(
    asked: URLSearchParams,
    { streams: { perUser, relays }, budget }: Tenant,
    source: StreamSource | undefined,
  ): Response {
    faultPoint('relay.stream', { object: this.ctx })
    if (this.#machine.full) return new Response('the relay has no room', { status: 503 })
    const level = this.#told.level(this.#streams.size, partOfRelay(relaysFor(relays, budget), budget))
    const said = (name: string) => asked.get(name) ?? undefined
    const iat = said('iat')
    const of = {
      user: said('user'),
      client: said('client'),
      jti: said('jti'),
      iat: iat === undefined ? undefined : Number(iat),
    }
    if (of.user !== undefined) {
      const by = { user: of.user, client: of.client ?? '' }
      const admission = admit(this.#users(), by, Date.now(), perUser, level === 'refuse')
      if (admission.kind === 'refused') {
        const headers = { 'retry-after': String(admission.retryAfterSeconds), 'rockpool-limit-of': admission.of }
        return new Response(`this ${admission.of} has too many streams`, { status: 429, headers })
      }
      if (admission.close) this.#end(admission.close, CLOSE_USER_STREAMS, 'a newer stream of this user takes its place')
    }
    const { client, server: socket } = socketPair()
    this.ctx.acceptWebSocket(socket, [STREAM])
    const marks = packMarks([])
    const state: StreamAttachment = {
      marks,
      toldPlan: null,
      owing: true,
      ...of,
      source,
      sent: 0,
      received: 0,
      since: Date.now(),
    }
    this.#streams.set(socket, state)
    this.#saveStream(socket, state)
    const token = tokenOf(state)
    if (token) this.#checks.arrived(socket, token)
    if (this.#linger) clearTimeout(this.#linger)
    this.#linger = null
    if (this.#streams.size === 1) void this.ctx.storage.setAlarm(Date.now() + SILENT_MS)
    this.#machine.streamArrived(socket)
    this.#stayAwake()
    this.#report()
    return new Response(null, { status: 101, webSocket: client })
  }

  /** Somebody should know how many streams there are. When the replicator does not hear it, the log has it. */
  #tell(level: 'warn' | 'refuse', streams: number): void {
    const request = { v: MESSAGE_VERSION, level, streams }
    answered(() => replicatorStub(this.env, this.#placed).streamsAt(request), callDeadline(this.env)).catch(
      (error: unknown) => console.error(`relay ${this.#name}: ${streams} streams are open`, level, error),
    )
  }

  *#users(): Iterable<[WebSocket, StreamUser]> {
    for (const [socket, { user, client = '', since }] of this.#streams)
      if (user !== undefined) yield [socket, { user, client, since }]
  }

  *#tokens(): Iterable<[WebSocket, TokenMark]> {
    for (const [socket, state] of this.#streams) {
      const token = tokenOf(state)
      if (token) yield [socket, token]
    }
  }

  #end(socket: WebSocket, code: number, reason: string): void {
    this.#checks.gone(socket)
    this.#streams.delete(socket)
    this.#machine.streamGone(socket)
    closeQuietly(socket, code, reason)
  }

  #acceptReplicator(): Response {
    faultPoint('relay.open', { object: this.ctx })
    if (!this.#machine.wants) return new Response('no streams', { status: 410 })
    const { client, server: socket } = socketPair()
    const older = this.#replicator?.socket
    this.ctx.acceptWebSocket(socket, [REPLICATOR])
    const { revision } = this.#checks
    this.#replicator = { socket, state: { checkpoint: null, plan: null, received: 0, revision }, acknowledged: 0 }
    this.#saveReplicator()
    this.#machine.replicatorArrived()
    if (older) closeQuietly(older, 1000, 'a newer socket')
    this.#lingerWhenAlone()
    const checkpoint = this.#machine.checkpoint
    return new Response(null, {
      status: 101,
      webSocket: client,
      headers: {
        'rockpool-checkpoint': checkpoint === null ? '' : String(checkpoint),
        'rockpool-names': 'name',
        'rockpool-fences': '1',
      },
    })
  }

  /** Restores the state from the sockets' attachments after hibernation. */
  #wake(): void {
    const { marks, streams, replicator, at } = remembered(
      this.ctx.getWebSockets(STREAM),
      this.ctx.getWebSockets(REPLICATOR),
    )
    this.#marks = marks
    for (const { socket, state } of streams) this.#streams.set(socket, state)
    // The attachment does not say what was acknowledged. With 0 here, the next frame is acknowledged at once, so that
    // the sender does not wait for ever.
    if (replicator) this.#replicator = { ...replicator, acknowledged: 0 }
    this.#checks.wake(replicator?.state.revision ?? 0)
    this.#machine.wake(
      at,
      streams.map(({ socket, saved }) => [socket, saved]),
    )
    this.#machine.wants ||= this.#replicator !== null
    this.#lingerWhenAlone()
  }

  get #placed(): Placed {
    return placedAt(this.env, this.ctx, this.#tenant.name)
  }

  /** Whether there are streams but no replicator. */
  get #alone(): boolean {
    return this.#streams.size > 0 && this.#replicator === null
  }

  /**
   * Checks after the current sends whether anything is still owed. Once for all sends of one turn, because it visits
   * every stream.
   */
  #stayAwakeSoon(): void {
    if (this.#looking) return
    this.#looking = true
    queueMicrotask(() => {
      this.#looking = false
      this.#stayAwake()
    })
  }

  /**
   * A timer keeps the object from hibernating while streams are owed something, because attachments do not remember
   * what, and while the replicator is missing, because it may die again before it has opened its socket.
   */
  #stayAwake(): void {
    if (this.#machine.owing || this.#checks.owing || this.#alone) {
      this.#awake ??= setInterval(() => {
        this.#machine.renew()
        this.#stayAwake()
        this.#wakeReplicator()
      }, AWAKE_MS)
    } else if (this.#awake) {
      clearInterval(this.#awake)
      this.#awake = null
    }
  }

  #lingerWhenAlone(): void {
    if (this.#linger || this.#streams.size > 0 || !this.#machine.wants) return
    this.#linger = setTimeout(() => {
      this.#linger = null
      if (this.#streams.size > 0) return
      this.#machine.forget()
      const open = this.#replicator
      this.#replicator = null
      if (open) closeQuietly(open.socket, 1000, 'no streams')
    }, LINGER_MS)
  }

  #acknowledge(): void {
    const open = this.#replicator
    if (!open) return
    this.#saveReplicator()
    // At once when the sender may be waiting (see `#wake`), else after `ACKNOWLEDGE_BYTES`.
    if (open.state.received - open.acknowledged < ACKNOWLEDGE_BYTES) return
    open.acknowledged = open.state.received
    const frame: AckFrame = { v: MESSAGE_VERSION, type: 'ack', received: open.state.received }
    sendQuietly(open.socket, JSON.stringify(frame))
  }

  #saveStream(socket: WebSocket, state: StreamAttachment): void {
    socket.serializeAttachment({ kind: 'stream', key: this.#marks.key, ...state })
  }

  #saveReplicator(): void {
    this.#replicator?.socket.serializeAttachment({
      kind: 'replicator',
      key: this.#marks.key,
      ...this.#replicator.state,
    })
  }

  /**
   * Returns null when the answer is not wanted any more, or when the replicator says that the tenant is not served:
   * then there are no streams any more.
   */
  #untilAnswered<T>(call: () => Promise<T>, stale: () => boolean = () => false): Promise<T | null> {
    let gone = false
    return untilAnswered(call, {
      deadlineMs: callDeadline(this.env),
      firstMs: FIRST_WAIT_MS,
      maxMs: MAX_WAIT_MS,
      wanted: () => !stale() && !gone,
      failed: (error, attempts) => {
        gone = isNoTenant(error)
        if (gone) void this.#dismissed()
        if (attempts === ATTEMPTS_BEFORE_REPORT) console.warn(`relay ${this.#name}: a call fails`, error)
      },
    })
  }
}

/**
 * Returns the token of a stream, or null for one of an older Worker. One that does not say when its token was issued is
 * taken for the oldest, so that a revocation ends it: it may come back when that Worker has gone.
 */
const tokenOf = ({ user, client, jti, iat = 0 }: StreamAttachment): TokenMark | null =>
  user === undefined ? null : { user, client, jti, iat }

/** An error that came through RPC keeps its code. */
const isNoTenant = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'ROCKPOOL_TENANT'

function notFound(error: unknown): null {
  if (isNoTenant(error)) return null
  throw error
}
