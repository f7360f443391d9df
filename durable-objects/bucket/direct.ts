import { z } from 'zod'
import { signedChecksum } from '../../protocol/checksum.ts'
import { jsonOrNull } from '../../protocol/json.ts'
import type { PublishAnswer } from '../../protocol/messages/bucket.ts'
import type { Serving } from '../../protocol/messages/replicator.ts'
import { CLOSE_BAD_FRAME, CLOSE_RECONNECT, CLOSE_UNAUTHORIZED } from '../../protocol/native.ts'
import type { OpId } from '../../protocol/ops.ts'
import type { Log } from './log.ts'

/** What hibernation keeps of a direct stream. */
export interface DirectState {
  /** Everything up to here was sent. */
  position: OpId
  /** The newest checkpoint that it is owed. */
  goal: OpId
  /** It is to be told a checkpoint, also when there are no more ops: it is new, or has got some of the ops of one. */
  owed: boolean
  /** `exp` of the token: seconds since 1970. */
  expires: number
  /** The plan under which it was let in. */
  plan: string | null
  /** Frames that the client has acknowledged, and the sizes of those that it has not. */
  acknowledged: number
  pending: number[]
}

export const directState = z.object({
  ...{ position: z.number(), goal: z.number(), owed: z.boolean(), expires: z.number(), plan: z.string().nullable() },
  ...{ acknowledged: z.number(), pending: z.array(z.number()) },
})

/** `S` is a socket. */
export interface DirectPorts<S> {
  send(socket: S, text: string): void
  /** `error` is told before the socket is closed. */
  close(socket: S, code: number, error: { code: string; message: string }): void
  save(socket: S, state: DirectState): void
  /** Asks the replicator to watch this bucket, until it answers. */
  watch(answer: (serving: Serving) => void): void
  /** Seconds since 1970. */
  now(): number
}

export interface DirectLimits {
  /** UTF-16 units that one frame takes about. */
  frame: number
  /** Unacknowledged: UTF-16 units after which nothing is sent, and frames. Attachments remember the sizes. */
  length: number
  frames: number
}

const LIMITS: DirectLimits = { frame: 64 * 1024, length: 256 * 1024, frames: 64 }

const acknowledgement = z.strictObject({ ack: z.int().min(1) })

/**
 * Direct streams of one bucket: ops from a position, then live. Each gets everything up to the newest checkpoint that is known to be committed, and
 * is told that checkpoint when it has all of it. Nothing is ever above it, so nothing has to be taken back. Compaction does not get in the way: it
 * goes as far as that checkpoint at most.
 */
export class DirectStreams<S> {
  readonly #log: Log
  readonly #ports: DirectPorts<S>
  readonly #limits: DirectLimits
  readonly #streams = new Map<S, DirectState>()
  /** The call to the replicator that is under way does not cover those that came after it was sent. */
  #watching = false
  #unwatched = false

  constructor(log: Log, ports: DirectPorts<S>, limits: Partial<DirectLimits> = {}) {
    this.#log = log
    this.#ports = ports
    this.#limits = { ...LIMITS, ...limits }
  }

  get size(): number {
    return this.#streams.size
  }

  /** When the first of them expires: seconds since 1970. */
  get nextExpiry(): number | null {
    let next: number | null = null
    for (const { expires } of this.#streams.values()) next = next === null ? expires : Math.min(next, expires)
    return next
  }

  /** After hibernation: what the attachments say. */
  wake(streams: Iterable<[S, DirectState]>): void {
    let unanswered = false
    for (const [socket, state] of streams) {
      this.#streams.set(socket, state)
      unanswered ||= state.owed && untold(state)
    }
    // What was asked for it may have been lost with the memory, and nothing else would tell it anything before the next change.
    if (unanswered) this.ask()
  }

  accept(socket: S, { after, expires, plan }: { after: OpId; expires: number; plan: string | null }): void {
    const state = { position: after, goal: this.#log.committed, owed: true, expires, plan, acknowledged: 0, pending: [] }
    this.#streams.set(socket, state)
    this.#ports.save(socket, state)
    this.ask()
    this.#feed(socket, state)
  }

  /** Asks the replicator what is committed, and to be watched by it. It is awake then, if it had died. */
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
      this.#end(socket, CLOSE_BAD_FRAME, 'ROCKPOOL_CLIENT_FRAME', 'a frame must be {"ack": <number of frames received>}')
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
  }

  /** Something was committed. */
  publish(serving: Serving): PublishAnswer {
    this.#log.raise(serving.checkpoint)
    for (const [socket, state] of [...this.#streams]) {
      // Another sync config: whether the client still has this bucket is decided when it comes again.
      if (state.plan !== serving.plan) this.#end(socket, CLOSE_RECONNECT, 'PSYNC_S2003', 'the sync config has changed: connect again')
      else this.#feed(socket, state)
    }
    return { none: this.#streams.size === 0 }
  }

  /** Closes the streams whose tokens have expired. */
  expire(): void {
    for (const [socket, state] of [...this.#streams]) this.#expired(socket, state)
  }

  /** The bucket lacks ops: whoever follows it comes back later. */
  fenced(): void {
    this.#watching = false
    for (const socket of [...this.#streams.keys()])
      this.#end(socket, CLOSE_RECONNECT, 'ROCKPOOL_BUCKET_FENCED', 'the bucket lacks changes, which come later: connect again in a while')
  }

  /** The log is gone: every stream is told so. */
  close(): void {
    for (const [socket, state] of [...this.#streams]) this.#feed(socket, state)
  }

  #watch(): void {
    if (this.#watching || !this.#unwatched) return
    this.#watching = true
    this.#unwatched = false
    this.#ports.watch((serving) => {
      this.#watching = false
      this.publish(serving)
      this.#watch()
    })
  }

  /** Sends what the client lacks, as far as its acknowledgements allow. */
  #feed(socket: S, state: DirectState): void {
    if (this.#expired(socket, state)) return
    const goal = Math.max(state.goal, this.#log.committed)
    // Every newcomer makes all be looked at, and most have everything.
    if (!state.owed && state.position >= Math.min(goal, this.#log.last) && !this.#log.gone) return
    if (goal !== state.goal) {
      state.goal = goal
      this.#ports.save(socket, state)
    }
    while (this.#hasRoom(state)) {
      const answer = this.#log.read(state.position, goal, this.#limits.frame)
      if (answer.kind === 'gone') return this.#end(socket, CLOSE_RECONNECT, 'PSYNC_S2003', 'the bucket is gone: connect again')
      // The log has slept and does not remember how far commits had come; the replicator will say.
      if (answer.kind === 'overtaken') return
      // Nothing before the replicator's answer: what the log knows to be committed may be older than what the client had, or a part of the copy
      // that this plan has waited for.
      if (this.#watching && untold(state)) return
      const complete = !answer.more
      if (answer.count === 0 && !state.owed) return
      state.position = complete ? Math.max(answer.last, goal) : answer.last
      state.owed = !complete
      const text = complete ? `{"ops":[${answer.body}],"checkpoint":${this.#checkpoint(goal)}}` : `{"ops":[${answer.body}]}`
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
    return pending.length < this.#limits.frames && pending.reduce((sum, length) => sum + length, 0) < this.#limits.length
  }

  #expired(socket: S, { expires }: DirectState): boolean {
    if (this.#ports.now() < expires) return false
    this.#end(socket, CLOSE_UNAUTHORIZED, 'PSYNC_S2103', 'the token has expired')
    return true
  }

  #end(socket: S, closeCode: number, code: string, message: string): void {
    this.#streams.delete(socket)
    this.#ports.close(socket, closeCode, { code, message })
  }
}

const untold = ({ acknowledged, pending }: DirectState): boolean => acknowledged === 0 && pending.length === 0
