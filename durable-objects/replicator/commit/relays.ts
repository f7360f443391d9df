import { MESSAGE_VERSION } from '../../../protocol/versions.ts'
import { ackFrame, PING, PONG, SOCKET_CREDIT } from '../../../protocol/messages/relay.ts'
import type { OpId } from '../../../protocol/ops.ts'
import type { Environment } from '../../environment.ts'
import type { Database } from '../../shared/database.ts'
import { faultPoint, asyncFaultPoint } from '../../shared/fault-points.ts'
import { relayStub } from '../../shared/namespaces.ts'
import { closeQuietly } from '../../shared/sockets.ts'
import { answered, callDeadline, untilAnswered, type Attempt } from '../../shared/retry.ts'

const PING_MS = 30_000
const FIRST_WAIT_MS = 100
const MAX_WAIT_MS = 10_000
/** A relay that is moved or starts again refuses a few times; after so many it is told. */
const TOLD_ATTEMPTS = 4

export interface RelayPorts {
  env: Environment
  db: Database
  nextSerial(): number
  /** What a relay gets that has `has`: frames of the last notice when that is exactly what it lacks, else a gap. */
  greeting(has: OpId | null): string[]
  /** A gap at the committed checkpoint. */
  gap(): string
  /** Buckets are fenced. Only relays that know what that means may hear of further checkpoints. */
  fenced(): boolean
  /** The socket to a relay cannot be opened, again and again. */
  failing(relay: string, reason: string): void
}

interface RelaySocket {
  serial: number
  socket: WebSocket
  /** Its relay is of version 1 and knows buckets by hashes. */
  hashed: boolean
  /** It understands `fenced`. */
  fences: boolean
  sent: number
  received: number
  /** It had no credit for a notice: it gets a gap when it acknowledges. */
  behind: boolean
  /** Pings without an answer. */
  silent: number
  /** It is closed, and another one is opened. */
  fall(): void
}

/**
 * The sockets to the attached relays. Only the replicator opens them, and opens them again whenever they fall, until the relay refuses
 * because it has no streams.
 */
export class Relays {
  readonly #ports: RelayPorts
  readonly #sockets = new Map<string, RelaySocket>()
  readonly #opening = new Set<string>()
  readonly #serials = new Map<string, number>()
  #pings: ReturnType<typeof setInterval> | null = null

  constructor(ports: RelayPorts) {
    this.#ports = ports
    for (const row of ports.db.all('SELECT name, serial FROM relays')) this.#serials.set(String(row.name), Number(row.serial))
  }

  /** Attached relays make a tenant live. */
  get size(): number {
    return this.#serials.size
  }

  /** Streams of clients that are open. A relay that does not answer counts for none. */
  async streams(deadlineMs = callDeadline(this.#ports.env)): Promise<number> {
    const { env } = this.#ports
    const counts = await Promise.allSettled(
      [...this.#serials.keys()].map((relay) => answered(() => relayStub(env, relay).streams({ v: MESSAGE_VERSION }), deadlineMs)),
    )
    return counts.reduce((sum, count) => sum + (count.status === 'fulfilled' ? count.value : 0), 0)
  }

  attach(relay: string): void {
    const serial = this.#ports.nextSerial()
    this.#ports.db.run('INSERT INTO relays VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET serial = excluded.serial', relay, serial)
    this.#serials.set(relay, serial)
    this.keepOpen(relay)
  }

  keepAllOpen(): void {
    for (const relay of this.#serials.keys()) this.keepOpen(relay)
  }

  /** A committed notice, once it is durable, to every socket in commit order. `hashed`: the same for relays of version 1. */
  notice(frames: readonly string[], hashed: () => readonly string[]): void {
    for (const open of this.#sockets.values()) this.#send(open, open.hashed ? hashed() : frames)
  }

  /** Relays of an older version hear nothing more for now, as if the replicator were away. */
  fence(): void {
    for (const open of [...this.#sockets.values()]) if (!open.fences) open.fall()
  }

  keepOpen(relay: string): void {
    if (this.#opening.has(relay)) return
    this.#opening.add(relay)
    void this.#keepOpen(relay).finally(() => this.#opening.delete(relay))
  }

  async #keepOpen(relay: string): Promise<void> {
    const { env, failing } = this.#ports
    for (let serial = this.#toOpen(relay); serial !== null; serial = this.#toOpen(relay)) {
      const wanted = serial
      await untilAnswered((attempt) => this.#open(relay, wanted, attempt), {
        deadlineMs: callDeadline(env),
        firstMs: FIRST_WAIT_MS,
        maxMs: MAX_WAIT_MS,
        wanted: () => this.#toOpen(relay) === wanted,
        failed: (error, attempts) => {
          if (attempts >= TOLD_ATTEMPTS) failing(relay, error instanceof Error ? error.message : String(error))
        },
      })
    }
  }

  /** The serial of a relay whose socket is not open; null when there is nothing to open. */
  #toOpen(relay: string): number | null {
    const serial = this.#serials.get(relay)
    return serial === undefined || this.#sockets.get(relay)?.serial === serial ? null : serial
  }

  async #open(relay: string, serial: number, attempt: Attempt): Promise<void> {
    await asyncFaultPoint('open.begin')
    const response = await relayStub(this.#ports.env, relay).fetch(`https://relay/replicator?serial=${serial}`, {
      headers: { upgrade: 'websocket' },
    })
    const socket = response.webSocket
    if (!socket) {
      await response.body?.cancel()
      if (response.status !== 410) throw new Error(`relay ${relay} answered ${response.status}`)
      // A late refusal must not undo a newer attach.
      if (this.#serials.get(relay) === serial) this.#forget(relay)
      return
    }
    await asyncFaultPoint('open.answered')
    socket.accept()
    // The relay keeps the newest socket that it has answered, which may be this one: then it is closed, and the relay is opened once more.
    if (attempt.expired) return closeQuietly(socket)
    const { headers } = response
    const knows = { hashed: headers.get('rockpool-names') !== 'name', fences: headers.get('rockpool-fences') === '1' }
    if (!knows.fences && this.#ports.fenced()) {
      closeQuietly(socket)
      throw new Error('it runs code of an older version, which does not know that a bucket is fenced')
    }
    const has = headers.get('rockpool-checkpoint')
    this.#register(relay, serial, socket, has ? Number(has) : null, knows)
  }

  /** One synchronous step: close the old socket, register the new one, send what it lacks. */
  #register(relay: string, serial: number, socket: WebSocket, has: OpId | null, knows: Pick<RelaySocket, 'hashed' | 'fences'>): void {
    const fall = () => {
      closeQuietly(socket)
      if (this.#sockets.get(relay) !== open) return
      this.#sockets.delete(relay)
      this.keepOpen(relay)
    }
    const open: RelaySocket = { serial, socket, ...knows, sent: 0, received: 0, behind: false, silent: 0, fall }
    const old = this.#sockets.get(relay)
    this.#sockets.set(relay, open)
    if (old) closeQuietly(old.socket)
    socket.addEventListener('message', (event) => this.#message(open, event.data))
    socket.addEventListener('close', fall)
    socket.addEventListener('error', fall)
    this.#pings ??= setInterval(() => this.#ping(), PING_MS)
    try {
      faultPoint('open.registered', { drop: fall })
      this.#send(open, knows.hashed ? [this.#ports.gap()] : this.#ports.greeting(has))
    } catch (error) {
      // It is open and does not know where it is: it must not stay.
      fall()
      throw error
    }
  }

  #message(open: RelaySocket, data: unknown): void {
    open.silent = 0
    if (data === PONG || typeof data !== 'string') return
    const frame = ackFrame(data)
    if (frame === null) return
    open.received = Math.max(open.received, frame.received)
    // Relays acknowledge every quarter of the credit.
    if (open.behind && open.sent - open.received <= SOCKET_CREDIT / 2) {
      open.behind = false
      this.#send(open, [this.#ports.gap()])
    }
  }

  #send(open: RelaySocket, frames: readonly string[]): void {
    if (open.behind) return
    if (open.sent - open.received > SOCKET_CREDIT) {
      open.behind = true
      return
    }
    for (const frame of frames) {
      faultPoint('notice.send', { drop: () => open.socket.close(1011, 'a fault') })
      open.sent += new TextEncoder().encode(frame).length
      try {
        open.socket.send(frame)
      } catch {
        // It has fallen; its close event opens it again.
        return
      }
    }
  }

  #ping(): void {
    for (const open of [...this.#sockets.values()]) {
      // A half-open socket takes everything and answers nothing, not even that it is closed.
      if (open.silent++ >= 2) open.fall()
      else
        try {
          open.socket.send(PING)
        } catch {
          continue
        }
    }
    if (this.#sockets.size === 0 && this.#pings) {
      clearInterval(this.#pings)
      this.#pings = null
    }
  }

  #forget(relay: string): void {
    this.#ports.db.run('DELETE FROM relays WHERE name = ?', relay)
    this.#serials.delete(relay)
  }
}
