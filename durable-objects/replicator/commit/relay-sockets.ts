import { ackFrame, PING, PONG, SOCKET_CREDIT } from '../../../protocol/messages/relay.ts'
import type { OpId } from '../../../protocol/ops.ts'
import type { Clock } from '../../shared/clock.ts'
import { faultPoint } from '../../shared/fault-points.ts'
import type { Attempt, Repeat } from '../../shared/retry.ts'
import type { Store } from '../store/store.ts'
import { rounded } from './fraction.ts'
import { gapFrame } from './notice.ts'
import type { RelayConnection, RelayLink } from './relay-link.ts'

const PING_MS = 30_000
const RETRY = { firstMs: 100, maxMs: 10_000 }
/** Attempts after which a failure is reported. A relay that is moved or restarted refuses a few times. */
const ATTEMPTS_BEFORE_REPORT = 4

export interface RelaySocketsPorts {
  store: Store
  clock: Clock
  /** Makes one attempt. Returns null when the relay has no streams and refuses a socket. */
  connect(relay: string, serial: number): Promise<RelayConnection | null>
  /** Repeats a call until it is answered or no longer wanted. */
  untilAnswered: Repeat
}

interface RelaySocket extends Pick<RelayConnection, 'hashed' | 'fences'> {
  serial: number
  link: RelayLink
  sent: number
  received: number
  /** True when it had no credit for a notice. It gets a gap when it acknowledges. */
  behind: boolean
  /** The number of pings without an answer. */
  silent: number
  /** Closes the socket, and opens another one. */
  fall(): void
}

/**
 * The sockets to the attached relays. Only the replicator opens them, and it opens them again whenever they close,
 * until the relay refuses because it has no streams. Pure but for its ports; the simulation runs this class.
 */
export class RelaySockets {
  readonly #ports: RelaySocketsPorts
  readonly #sockets = new Map<string, RelaySocket>()
  readonly #opening = new Set<string>()
  readonly #serials = new Map<string, number>()
  #endPings: (() => void) | null = null

  constructor(ports: RelaySocketsPorts) {
    this.#ports = ports
    for (const row of ports.store.db.all('SELECT name, serial FROM relays'))
      this.#serials.set(String(row.name), Number(row.serial))
  }

  /** The names of the attached relays, which make a tenant live. */
  get names(): string[] {
    return [...this.#serials.keys()]
  }

  get size(): number {
    return this.#serials.size
  }

  attach(relay: string): void {
    const { store } = this.#ports
    const serial = store.nextSerial()
    store.db.run(
      'INSERT INTO relays VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET serial = excluded.serial',
      relay,
      serial,
    )
    this.#serials.set(relay, serial)
    this.keepOpen(relay)
  }

  keepAllOpen(): void {
    for (const relay of this.#serials.keys()) this.keepOpen(relay)
  }

  /**
   * Sends a committed, durable notice to every socket, in commit order. `hashed` returns the frames for relays of
   * version 1.
   */
  notice(frames: readonly string[], hashed: () => readonly string[]): void {
    for (const open of this.#sockets.values()) this.#send(open, open.hashed ? hashed() : frames)
  }

  /** Returns a gap: what is served, without what has changed. */
  gap(): string {
    const { store } = this.#ports
    const { checkpoint, plan } = store.serving
    const { hold } = store.state.get('commit')
    return gapFrame(checkpoint, plan, store.fencedNames, hold && rounded(store.compared))
  }

  /** Closes the sockets of relays that do not understand fences, as if the replicator were unavailable. */
  fence(): void {
    for (const open of [...this.#sockets.values()]) if (!open.fences) open.fall()
  }

  keepOpen(relay: string): void {
    if (this.#opening.has(relay)) return
    this.#opening.add(relay)
    void this.#keepOpen(relay).finally(() => this.#opening.delete(relay))
  }

  async #keepOpen(relay: string): Promise<void> {
    const { untilAnswered, store } = this.#ports
    for (let serial = this.#toOpen(relay); serial !== null; serial = this.#toOpen(relay)) {
      const wanted = serial
      await untilAnswered((attempt) => this.#open(relay, wanted, attempt), {
        ...RETRY,
        wanted: () => this.#toOpen(relay) === wanted,
        failed: (error, attempts) => {
          if (attempts < ATTEMPTS_BEFORE_REPORT) return
          const reason = `${relay}: ${error instanceof Error ? error.message : String(error)}`
          store.diagnostics.add({ code: 'ROCKPOOL_RELAY_SOCKET', reason })
        },
      })
    }
  }

  /** Returns the serial of a relay whose socket must be opened, or null. */
  #toOpen(relay: string): number | null {
    const serial = this.#serials.get(relay)
    return serial === undefined || this.#sockets.get(relay)?.serial === serial ? null : serial
  }

  async #open(relay: string, serial: number, attempt: Attempt): Promise<void> {
    const { connect, store } = this.#ports
    const connection = await connect(relay, serial)
    if (!connection) {
      // A late refusal must not undo a newer attach.
      if (this.#serials.get(relay) === serial) this.#forget(relay)
      return
    }
    // The relay keeps the newest socket that it has accepted, which may be this one. Closing it makes the relay open
    // again.
    if (attempt.expired) return connection.link.close()
    if (!connection.fences && store.fences.all.length > 0) {
      connection.link.close()
      throw new Error('it runs code of an older version, which does not understand fences')
    }
    this.#register(relay, serial, connection)
  }

  /** In one synchronous step, closes the old socket, registers the new one, and sends what it lacks. */
  #register(relay: string, serial: number, { link, checkpoint, hashed, fences }: RelayConnection): void {
    const { clock } = this.#ports
    const fall = () => {
      link.close()
      if (this.#sockets.get(relay) !== open) return
      this.#sockets.delete(relay)
      this.keepOpen(relay)
    }
    const open: RelaySocket = { serial, link, hashed, fences, sent: 0, received: 0, behind: false, silent: 0, fall }
    const old = this.#sockets.get(relay)
    this.#sockets.set(relay, open)
    if (old) old.link.close()
    link.listen((data) => this.#message(open, data), fall)
    this.#endPings ??= clock.every(PING_MS, () => this.#ping())
    try {
      faultPoint('open.registered', { drop: fall })
      this.#send(open, hashed ? [this.gap()] : this.#greeting(checkpoint))
    } catch (error) {
      // An open socket without a greeting must not stay.
      fall()
      throw error
    }
  }

  /**
   * Returns the greeting of a relay at checkpoint `has`: the frames of the last notice when it lacks exactly that one,
   * else a gap.
   */
  #greeting(has: OpId | null): readonly string[] {
    const { named, hold } = this.#ports.store.state.get('commit')
    if (named === null || has === null || named.previous !== has) return [this.gap()]
    // The notice is older than the hold, so a gap with the progress of the comparison follows it.
    return hold ? [...named.parts, this.gap()] : named.parts
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
      this.#send(open, [this.gap()])
    }
  }

  #send(open: RelaySocket, frames: readonly string[]): void {
    if (open.behind) return
    if (open.sent - open.received > SOCKET_CREDIT) {
      open.behind = true
      return
    }
    for (const frame of frames) {
      faultPoint('notice.send', { drop: () => open.link.close(true) })
      open.sent += new TextEncoder().encode(frame).length
      try {
        open.link.send(frame)
      } catch {
        // The socket has closed, and its close event opens it again.
        return
      }
    }
  }

  #ping(): void {
    for (const open of [...this.#sockets.values()]) {
      // A half-open socket accepts everything and answers nothing, not even a close.
      if (open.silent++ >= 2) open.fall()
      else
        try {
          open.link.send(PING)
        } catch {
          continue
        }
    }
    if (this.#sockets.size > 0) return
    this.#endPings?.()
    this.#endPings = null
  }

  #forget(relay: string): void {
    this.#ports.store.db.run('DELETE FROM relays WHERE name = ?', relay)
    this.#serials.delete(relay)
  }
}
