import { signedChecksum } from '../../protocol/checksum.ts'
import type { BucketEntry } from '../../protocol/lines.ts'
import type { BucketState } from '../../protocol/messages.ts'
import type { OpId } from '../../protocol/ops.ts'
import type { ResolvedBucket } from '../../sync-config/types.ts'
import type { StreamPorts, Upstream } from './ports.ts'
import type { Resolved } from './resolve.ts'
import { sameState, type View } from './view.ts'

/** Below so many ops a checkpoint is finished although a newer one is known. */
const OPS_BEFORE_INTERRUPTION = 1_000

interface Told {
  writeCheckpoint: string | null
  buckets: Map<string, BucketState>
}

/** Announces the view's checkpoint and sends what the client lacks. */
export class Emitter {
  readonly #ports: StreamPorts
  readonly #view: View
  /** Bucket → op up to which the client has everything. */
  readonly #positions: Map<string, OpId>
  #told: Told | null = null
  #done = true

  constructor(ports: StreamPorts, view: View, positions: Map<string, OpId>) {
    this.#ports = ports
    this.#view = view
    this.#positions = positions
  }

  /** False: start over, because a newer checkpoint is known. True: wait for the next message, also when the upstream fell on the way. */
  async emit(resolved: Resolved, upstream: Upstream): Promise<boolean> {
    const { checkpoint, states } = this.#view
    const buckets = new Map(resolved.buckets.map(({ bucket }) => [bucket, states.get(bucket) ?? { count: 0, checksum: 0, last: 0 }]))
    if (!(await this.#announce(resolved, buckets))) return true
    this.#done = false
    const groups = this.#groups(resolved.buckets, buckets)
    let sent = 0
    for (const [i, group] of groups.entries()) {
      for (const bucket of group.buckets) {
        const ops = await this.#send(bucket, checkpoint, upstream, sent)
        if (typeof ops === 'string') return ops === 'fallen'
        sent += ops
      }
      if (i < groups.length - 1) {
        await this.#ports.lines.send({ partial_checkpoint_complete: { last_op_id: String(checkpoint), priority: group.priority } })
      }
    }
    await this.#ports.lines.send({ checkpoint_complete: { last_op_id: String(checkpoint) } })
    this.#done = true
    return true
  }

  /** The first line, or what has changed since the last one. False: nothing has. */
  async #announce(resolved: Resolved, buckets: Map<string, BucketState>): Promise<boolean> {
    const { lines } = this.#ports
    const last_op_id = String(this.#view.checkpoint)
    const write = resolved.writeCheckpoint === null ? {} : { write_checkpoint: resolved.writeCheckpoint }
    const told = this.#told
    if (!told) {
      const entries = resolved.buckets.map((bucket) => entryOf(bucket, buckets))
      await lines.send({ checkpoint: { last_op_id, ...write, buckets: entries, streams: resolved.streams } })
      // The client forgets what is not in its first checkpoint, so it starts anew if it comes back.
      for (const bucket of [...this.#positions.keys()]) if (!buckets.has(bucket)) this.#positions.delete(bucket)
    } else {
      const updated = resolved.buckets.filter(({ bucket }) => !sameState(told.buckets.get(bucket), buckets.get(bucket)))
      const removed = [...told.buckets.keys()].filter((bucket) => !buckets.has(bucket))
      const sameWrite = resolved.writeCheckpoint === told.writeCheckpoint
      if (updated.length === 0 && removed.length === 0 && sameWrite && this.#done) return false
      const updated_buckets = updated.map((bucket) => entryOf(bucket, buckets))
      await lines.send({ checkpoint_diff: { last_op_id, ...write, updated_buckets, removed_buckets: removed } })
      for (const bucket of removed) {
        this.#positions.delete(bucket)
        this.#view.dropTail(bucket)
      }
    }
    this.#told = { writeCheckpoint: resolved.writeCheckpoint, buckets }
    return true
  }

  /** Buckets that are behind, the most urgent first. */
  #groups(resolved: readonly ResolvedBucket[], buckets: Map<string, BucketState>): { priority: number; buckets: string[] }[] {
    const groups = new Map<number, string[]>()
    for (const { bucket, priority } of resolved) {
      if ((this.#positions.get(bucket) ?? 0) >= (buckets.get(bucket)?.last ?? 0)) {
        this.#view.startTail(bucket)
        continue
      }
      const group = groups.get(priority)
      if (group) group.push(bucket)
      else groups.set(priority, [bucket])
    }
    return [...groups].sort(([a], [b]) => a - b).map(([priority, names]) => ({ priority, buckets: names }))
  }

  /** Number of ops sent. `newer`: start over. `fallen`: only a new upstream brings a checkpoint that can be sent. */
  async #send(bucket: string, checkpoint: OpId, upstream: Upstream, sentBefore: number): Promise<number | 'newer' | 'fallen'> {
    const { lines, read } = this.#ports
    const tail = this.#view.tail(bucket)
    if (tail && tail.pieces > 0) {
      const after = this.#positions.get(bucket) ?? 0
      await lines.data({ bucket, after, next: tail.last, more: false, ops: tail.ops })
      this.#positions.set(bucket, tail.last)
      this.#view.startTail(bucket)
      return tail.pieces
    }
    // Ops that come while it is read would leave a hole behind an interruption.
    this.#view.dropTail(bucket)
    let sent = 0
    for (;;) {
      const after = this.#positions.get(bucket) ?? 0
      const answer = await read(bucket, after, checkpoint)
      if (answer.kind !== 'ops') {
        // Compaction went beyond this checkpoint, or the bucket is gone: a newer message says what is so now.
        const frame = await upstream.next()
        if (!frame) return 'fallen'
        this.#view.apply(frame)
        return 'newer'
      }
      if (answer.count > 0) {
        await lines.data({ bucket, after, next: answer.last, more: answer.more, ops: answer.body })
        this.#positions.set(bucket, answer.last)
        sent += answer.count
      }
      if (!answer.more) break
      if (upstream.waiting > 0 && sentBefore + sent >= OPS_BEFORE_INTERRUPTION) return 'newer'
    }
    this.#view.startTail(bucket)
    return sent
  }
}

function entryOf({ bucket, priority, reasons }: ResolvedBucket, buckets: Map<string, BucketState>): BucketEntry {
  const state = buckets.get(bucket)
  return { bucket, checksum: signedChecksum(state?.checksum ?? 0), count: state?.count ?? 0, priority, subscriptions: reasons }
}
