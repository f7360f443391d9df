import { splitOps } from '../../protocol/op-text.ts'
import { signedChecksum } from '../../protocol/checksum.ts'
import type { BucketEntry } from '../../protocol/lines.ts'
import type { OpId } from '../../protocol/ops.ts'
import type { StreamPorts, Upstream } from './ports.ts'
import type { Resolved } from './resolve.ts'
import type { View } from './view.ts'

/** Below so many ops a checkpoint is finished although a newer one is known. */
const OPS_BEFORE_INTERRUPTION = 1_000

interface Told {
  writeCheckpoint: string | null
  /** `streams` of the last full checkpoint, as JSON. */
  streams: string
  buckets: Map<string, BucketEntry>
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
    const { checkpoint } = this.#view
    const entries = this.#entries(resolved)
    if (!(await this.#announce(resolved, entries))) return true
    this.#done = false
    const groups = this.#groups(entries)
    let sent = 0
    for (const [i, group] of groups.entries()) {
      for (const bucket of group.buckets) {
        if (upstream.waiting > 0 && sent >= OPS_BEFORE_INTERRUPTION) return false
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

  #entries(resolved: Resolved): Map<string, BucketEntry> {
    const { states } = this.#view
    return new Map(
      resolved.buckets.map(({ bucket, priority, reasons }) => {
        const state = states.get(bucket)
        const checksum = signedChecksum(state?.checksum ?? 0)
        return [bucket, { bucket, checksum, count: state?.count ?? 0, priority, subscriptions: reasons }]
      }),
    )
  }

  /** The first line, or what has changed since the last one. False: nothing has. */
  async #announce(resolved: Resolved, entries: Map<string, BucketEntry>): Promise<boolean> {
    const { lines } = this.#ports
    const last_op_id = String(this.#view.checkpoint)
    const write = resolved.writeCheckpoint === null ? {} : { write_checkpoint: resolved.writeCheckpoint }
    const told = this.#told
    const streams = JSON.stringify(resolved.streams)
    // A diff cannot change the list of streams, so behind a switch of the plan the client gets a whole checkpoint.
    if (told?.streams !== streams) {
      await lines.send({ checkpoint: { last_op_id, ...write, buckets: [...entries.values()], streams: resolved.streams } })
      // The client forgets what is not in a whole checkpoint, so it starts anew if it comes back.
      for (const bucket of [...this.#positions.keys()]) if (!entries.has(bucket)) this.#forget(bucket)
    } else {
      const all = [...entries.values()]
      const changed = all.some((entry) => !sameContent(told.buckets.get(entry.bucket), entry))
      const removed_buckets = [...told.buckets.keys()].filter((bucket) => !entries.has(bucket))
      const sameWrite = resolved.writeCheckpoint === told.writeCheckpoint
      if (!changed && removed_buckets.length === 0 && sameWrite && this.#done) return false
      const updated_buckets = all.filter((entry) => !sameEntry(told.buckets.get(entry.bucket), entry))
      await lines.send({ checkpoint_diff: { last_op_id, ...write, updated_buckets, removed_buckets } })
      for (const bucket of removed_buckets) this.#forget(bucket)
    }
    this.#told = { writeCheckpoint: resolved.writeCheckpoint, streams, buckets: entries }
    return true
  }

  #forget(bucket: string): void {
    this.#positions.delete(bucket)
    this.#view.dropTail(bucket)
  }

  /** Buckets that are behind, the most urgent first. */
  #groups(entries: Map<string, BucketEntry>): { priority: number; buckets: string[] }[] {
    const groups = new Map<number, string[]>()
    for (const { bucket, priority } of entries.values()) {
      if ((this.#positions.get(bucket) ?? 0) >= (this.#view.states.get(bucket)?.last ?? 0)) {
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
    const { lines } = this.#ports
    const tail = this.#view.tail(bucket)
    if (tail) {
      const after = this.#positions.get(bucket) ?? 0
      await lines.data({ bucket, after, next: tail.last, more: false, ops: tail.ops })
      this.#positions.set(bucket, tail.last)
      this.#view.startTail(bucket)
      return splitOps(tail.ops).length
    }
    // Ops that come while it is read would leave a hole behind an interruption.
    this.#view.dropTail(bucket)
    let sent = 0
    for (;;) {
      await lines.room()
      const passed = await this.#pass(bucket, checkpoint)
      if (passed === null) {
        // Compaction went beyond this checkpoint, or the bucket is gone: a newer message says what is so now.
        const frame = await upstream.next()
        if (!frame) return 'fallen'
        this.#view.apply(frame)
        return 'newer'
      }
      sent += passed.count
      if (!passed.more) break
      if (upstream.waiting > 0 && sentBefore + sent >= OPS_BEFORE_INTERRUPTION) return 'newer'
    }
    // The relay may still tell the last op of a bucket that was erased: it is not read again at each checkpoint.
    const last = this.#view.states.get(bucket)?.last ?? 0
    if (last > (this.#positions.get(bucket) ?? 0)) this.#positions.set(bucket, last)
    this.#view.startTail(bucket)
    return sent
  }

  /**
   * One read, passed on. Null: the bucket cannot answer for this checkpoint. By itself, because a function that waits keeps what it had in its variables, also
   * those of a block that it has left (V8, 2026-11): the text of a read for each stream that waits for room for the next one.
   */
  async #pass(bucket: string, checkpoint: OpId): Promise<{ count: number; more: boolean } | null> {
    const after = this.#positions.get(bucket) ?? 0
    const answer = await this.#ports.read(bucket, after, checkpoint)
    if (answer.kind !== 'ops') return null
    const { count, last, more, body } = answer
    if (count > 0) {
      await this.#ports.lines.data({ bucket, after, next: last, more, ops: body })
      this.#positions.set(bucket, last)
    }
    return { count, more }
  }
}

/** Whether nothing changed of which a client must hear. */
const sameContent = (a: BucketEntry | undefined, b: BucketEntry): boolean => a?.checksum === b.checksum && a.count === b.count

/** Why a client has a bucket, and how urgently, is told along with the next change. */
const sameEntry = (a: BucketEntry | undefined, b: BucketEntry): boolean =>
  sameContent(a, b) && a?.priority === b.priority && JSON.stringify(a.subscriptions) === JSON.stringify(b.subscriptions)
