import { z } from 'zod'
import { signedChecksum } from '../../protocol/checksum.ts'
import { jsonOrNull } from '../../protocol/json.ts'
import type { PublishAnswer } from '../../protocol/messages/bucket.ts'
import type { Checked, Serving } from '../../protocol/messages/replicator.ts'
import { CLOSE_BAD_FRAME, CLOSE_RECONNECT, CLOSE_UNAUTHORIZED } from '../../protocol/native.ts'
import type { OpId } from '../../protocol/ops.ts'
import { isRevokedBy, type TokenMark, type ToldRevocation } from '../../protocol/revocations.ts'
import type { Log } from './log.ts'

/** The state of a direct stream that survives hibernation. */
export interface DirectState {
  /** The op up to which everything was sent. */
  position: OpId
  /** The newest checkpoint that it must reach. */
  goal: OpId
  /**
   * Whether it must be sent a checkpoint even when there are no more ops: it is new, or has received only some ops of
   * one.
   */
  owed: boolean
  /** `exp` of the token: seconds since 1970. */
  expires: number
  /** The plan under which it was admitted. */
  plan: string | null
  /** Absent for a stream of an older Worker, and then no revocation concerns it. */
  token?: TokenMark | undefined
  /** The number of frames that the client has acknowledged, and the sizes of the others. */
  acknowledged: number
  pending: number[]
}

export const directState = z.object({
  position: z.number(),
  goal: z.number(),
  owed: z.boolean(),
  expires: z.number(),
  plan: z.string().nullable(),
  token: z.object({ user: z.string(), jti: z.string().optional(), iat: z.number() }).optional(),
  acknowledged: z.number(),
  pending: z.array(z.number()),
})

/** What direct streams need from their object. `S` is a socket. */
export interface DirectPorts<S> {
  send(socket: S, text: string): void
  /** Sends `error`, then closes the socket. */
  close(socket: S, code: number, error: { code: string; message: string }): void
  save(socket: S, state: DirectState): void
  /** Asks the replicator to watch this bucket, and about the tokens of new streams. Repeats until it answers. */
  watch(tokens: TokenMark[], answer: (serving: Serving & Checked) => void): void
  /** Seconds since 1970. */
  now(): number
}

export interface DirectLimits {
  /** The approximate size of one frame, in UTF-16 units. */
  frame: number
  /**
   * Limits of what is unacknowledged: UTF-16 units, and frames, whose sizes are kept in attachments. Above them nothing
   * is sent.
   */
  length: number
  frames: number
}

const LIMITS: DirectLimits = { frame: 64 * 1024, length: 256 * 1024, frames: 64 }

const acknowledgement = z.strictObject({ ack: z.int().min(1) })

/**
 * Direct streams of one bucket: ops from a position on, then live. Each gets everything up to the newest checkpoint
 * that is known to be committed, and is sent that checkpoint when it has all of it. Nothing above it is ever sent, so
 * nothing has to be taken back. Compaction does not interfere: it goes at most as far as that checkpoint.
 *
 * The file is long because it has everything that changes which streams there are, and what each is owed.
 */
export class DirectStreams<S> {
  readonly #log: Log
  readonly #ports: DirectPorts<S>
  readonly #limits: DirectLimits
  readonly #streams = new Map<S, DirectState>()
  /** Whether streams have come after the current call to the replicator was sent, which it does not cover. */
  #watching = false
  #unwatched = false
  /** Streams about which the replicator has not answered. Nothing is sent to them. */
  readonly #unchecked = new Set<S>()

  constructor(log: Log, ports: DirectPorts<S>, limits: Partial<DirectLimits> = {}) {
    this.#log = log
    this.#ports = ports
    this.#limits = { ...LIMITS, ...limits }
  }

  get size(): number {
    return this.#streams.size
  }

  /** When the first token expires: seconds since 1970. */
  get nextExpiry(): number | null {
    let next: number | null = null
    for (const { expires } of this.#streams.values()) next = next === null ? expires : Math.min(next, expires)
    return next
  }

  /** Restores the streams from their attachments after hibernation. */
  wake(streams: Iterable<[S, DirectState]>): void {
    let unanswered = false
    for (const [socket, state] of streams) {
      this.#streams.set(socket, state)
      if (!state.owed || !untold(state)) continue
      this.#unchecked.add(socket)
      unanswered = true
    }
    // The call on its behalf may have been lost with the memory, and nothing else would notify it before the next
    // change.
    if (unanswered) this.ask()
  }

  accept(
    socket: S,
    {
      after,
      expires,
      plan,
      token,
    }: { after: OpId; expires: number; plan: string | null; token?: TokenMark | undefined },
  ): void {
    const state: DirectState = {
      position: after,
      goal: this.#log.committed,
      owed: true,
      expires,
      plan,
      token,
      acknowledged: 0,
      pending: [],
    }
    this.#streams.set(socket, state)
    this.#unchecked.add(socket)
    this.#ports.save(socket, state)
    this.ask()
    this.#feed(socket, state)
  }

  /**
   * Asks the replicator what is committed, and to watch this bucket. The call also wakes a replicator that had died.
   */
  ask(): void {
    this.#unwatched = true
    this.#watch()
  }

  message(socket: S, text: unknown): void {
    const state = this.#streams.get(socket)
    if (!state) return
    const parsed = acknowledgement.safeParse(typeof text === 'string' ? jsonOrNull(text) : null)
    const count = parsed.success ? parsed.data.ack - state.acknowledged : 0
    if (!parsed.success || count > state.pending.length) {
      this.#end(
        socket,
        CLOSE_BAD_FRAME,
        'ROCKPOOL_CLIENT_FRAME',
        'a frame must be {"ack": <number of frames received>}',
      )
      return
    }
    if (count <= 0) return
    state.acknowledged += count
    state.pending.splice(0, count)
    this.#ports.save(socket, state)
    this.#feed(socket, state)
  }

  gone(socket: S): void {
    this.#streams.delete(socket)
    this.#unchecked.delete(socket)
  }

  /** Ends the streams of tokens that are refused from now on. Returns how many. */
  revoked(told: ToldRevocation): number {
    const concerned = [...this.#streams].filter(([, { token }]) => token && isRevokedBy(token, told))
    for (const [socket] of concerned) this.#endRevoked(socket)
    return concerned.length
  }

  #endRevoked(socket: S): void {
    this.#end(socket, CLOSE_UNAUTHORIZED, 'PSYNC_S2107', 'the token was revoked')
  }

  /** Called when something was committed. */
  publish(serving: Serving): PublishAnswer {
    this.#log.raise(serving.checkpoint)
    for (const [socket, state] of [...this.#streams]) {
      // Another sync config serves. Whether the client still has this bucket is decided when it reconnects.
      if (state.plan !== serving.plan)
        this.#end(socket, CLOSE_RECONNECT, 'PSYNC_S2003', 'the sync config has changed: connect again')
      else this.#feed(socket, state)
    }
    return { none: this.#streams.size === 0 }
  }

  /** Closes the streams whose tokens have expired. */
  expire(): void {
    for (const [socket, state] of [...this.#streams]) this.#expired(socket, state)
  }

  /** Ends all streams because the bucket lacks ops; their clients come back later. */
  fenced(): void {
    this.#watching = false
    for (const socket of [...this.#streams.keys()])
      this.#end(
        socket,
        CLOSE_RECONNECT,
        'ROCKPOOL_BUCKET_FENCED',
        'the bucket lacks changes, which come later: connect again in a while',
      )
  }

  /** Ends all streams because the tenant is not served. */
  dismissed(): void {
    this.#watching = false
    for (const socket of [...this.#streams.keys()])
      this.#end(socket, CLOSE_RECONNECT, 'PSYNC_S2002', 'there is nothing at this address')
  }

  /** Ends all streams because the log is gone. */
  close(): void {
    for (const [socket, state] of [...this.#streams]) this.#feed(socket, state)
  }

  #watch(): void {
    if (this.#watching || !this.#unwatched) return
    this.#watching = true
    this.#unwatched = false
    const asked = [...this.#unchecked]
    // One without a token is asked about as well, so that places stay what they are.
    const tokens = asked.map((socket) => this.#streams.get(socket)?.token ?? { user: '', iat: 0 })
    this.#ports.watch(tokens, ({ revoked = [], checkpoint, plan }) => {
      this.#watching = false
      for (const [i, socket] of asked.entries()) {
        this.#unchecked.delete(socket)
        if (revoked.includes(i) && this.#streams.has(socket)) this.#endRevoked(socket)
      }
      this.publish({ checkpoint, plan })
      this.#watch()
    })
  }

  /** Sends what the client lacks, as far as its acknowledgements allow. */
  #feed(socket: S, state: DirectState): void {
    if (this.#expired(socket, state)) return
    const goal = Math.max(state.goal, this.#log.committed)
    // Every new stream causes all to be checked, and most have everything.
    if (!state.owed && state.position >= Math.min(goal, this.#log.last) && !this.#log.gone) return
    if (goal !== state.goal) {
      state.goal = goal
      this.#ports.save(socket, state)
    }
    while (this.#hasRoom(state)) {
      const answer = this.#log.read(state.position, goal, this.#limits.frame)
      if (answer.kind === 'gone')
        return this.#end(socket, CLOSE_RECONNECT, 'PSYNC_S2003', 'the bucket is gone: connect again')
      // After hibernation the log does not know what is committed; the replicator will say.
      if (answer.kind === 'overtaken') return
      // Send nothing before the replicator's answer: the checkpoint that the log knows may be older than what the
      // client had, or only a part of the copy for which this plan waited; and the token may have been revoked.
      if (this.#unchecked.has(socket) || (this.#watching && untold(state))) return
      const complete = !answer.more
      if (answer.count === 0 && !state.owed) return
      state.position = complete ? Math.max(answer.last, goal) : answer.last
      state.owed = !complete
      const text = complete
        ? `{"ops":[${answer.body}],"checkpoint":${this.#checkpoint(goal)}}`
        : `{"ops":[${answer.body}]}`
      state.pending.push(text.length)
      this.#ports.save(socket, state)
      this.#ports.send(socket, text)
      if (complete) return
    }
  }

  #checkpoint(checkpoint: OpId): string {
    const { checksum, count } = this.#log.state(checkpoint)
    return JSON.stringify({ op_id: String(checkpoint), checksum: signedChecksum(checksum), count })
  }

  #hasRoom({ pending }: DirectState): boolean {
    return (
      pending.length < this.#limits.frames && pending.reduce((sum, length) => sum + length, 0) < this.#limits.length
    )
  }

  #expired(socket: S, { expires }: DirectState): boolean {
    if (this.#ports.now() < expires) return false
    this.#end(socket, CLOSE_UNAUTHORIZED, 'PSYNC_S2103', 'the token has expired')
    return true
  }

  #end(socket: S, closeCode: number, code: string, message: string): void {
    this.gone(socket)
    this.#ports.close(socket, closeCode, { code, message })
  }
}

const untold = ({ acknowledged, pending }: DirectState): boolean => acknowledged === 0 && pending.length === 0
