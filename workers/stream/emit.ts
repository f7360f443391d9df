import { splitOps } from '../../protocol/op-text.ts'
import { signedChecksum } from '../../protocol/checksum.ts'
import type { BucketEntry } from '../../protocol/lines.ts'
import type { OpId } from '../../protocol/ops.ts'
import type { StreamPorts, Upstream } from './ports.ts'
import type { Resolved } from './resolve.ts'
import type { View } from './view.ts'

/** A checkpoint with fewer ops than this is finished even if a newer one is known. */
const OPS_BEFORE_INTERRUPTION = 1_000

/** What was last announced to the client. */
interface Announced {
  writeCheckpoint: string | null
  /** `streams` of the last full checkpoint, as JSON. */
  streams: string
  buckets: Map<string, BucketEntry>
}

/**
 * How sending a checkpoint ended. `interrupted`: a newer checkpoint is known, so start over. `settled`: nothing more
 * can be sent before the next message or upstream.
 */
type Emitted = 'settled' | 'interrupted'

/**
 * How sending one bucket ended. `interrupted`: start over. `disconnected`: only a new upstream brings a checkpoint that
 * can be sent.
 */
type Sent = { kind: 'sent'; ops: number } | { kind: 'interrupted' } | { kind: 'disconnected' }

/** Announces the view's checkpoint and sends what the client lacks. */
export class Emitter {
  readonly #ports: StreamPorts
  readonly #view: View
  /** For each bucket, the op up to which the client has everything. */
  readonly #positions: Map<string, OpId>
  #announced: Announced | null = null
  #done = true

  constructor(ports: StreamPorts, view: View, positions: Map<string, OpId>) {
    this.#ports = ports
    this.#view = view
    this.#positions = positions
  }

  async emit(resolved: Resolved, upstream: Upstream): Promise<Emitted> {
    const { checkpoint } = this.#view
    const entries = this.#entries(resolved)
    if (!(await this.#announce(resolved, entries))) return 'settled'
    this.#done = false
    const groups = this.#groups(entries)
    let sent = 0
    for (const [i, group] of groups.entries()) {
      for (const bucket of group.buckets) {
        if (upstream.waiting > 0 && sent >= OPS_BEFORE_INTERRUPTION) return 'interrupted'
        const outcome = await this.#send(bucket, checkpoint, upstream, sent)
        if (outcome.kind === 'interrupted') return 'interrupted'
        if (outcome.kind === 'disconnected') return 'settled'
        sent += outcome.ops
      }
      if (i < groups.length - 1) {
        await this.#ports.lines.send({
          partial_checkpoint_complete: { last_op_id: String(checkpoint), priority: group.priority },
        })
      }
    }
    await this.#ports.lines.send({ checkpoint_complete: { last_op_id: String(checkpoint) } })
    this.#done = true
    return 'settled'
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

  /**
   * Sends a whole checkpoint, or a diff to the last one. Returns false, and sends nothing, when nothing has changed.
   */
  async #announce(resolved: Resolved, entries: Map<string, BucketEntry>): Promise<boolean> {
    const { lines } = this.#ports
    const last_op_id = String(this.#view.checkpoint)
    const write = resolved.writeCheckpoint === null ? {} : { write_checkpoint: resolved.writeCheckpoint }
    const announced = this.#announced
    const streams = JSON.stringify(resolved.streams)
    // A diff cannot change the list of streams, so after a switch of the plan the client gets a whole checkpoint.
    if (announced?.streams !== streams) {
      await lines.send({
        checkpoint: { last_op_id, ...write, buckets: [...entries.values()], streams: resolved.streams },
      })
      // The client discards buckets that are not in a whole checkpoint, so such a bucket is sent from the start if it
      // comes back.
      for (const bucket of [...this.#positions.keys()]) if (!entries.has(bucket)) this.#forget(bucket)
    } else {
      const all = [...entries.values()]
      const changed = all.some((entry) => !sameContent(announced.buckets.get(entry.bucket), entry))
      const removed_buckets = [...announced.buckets.keys()].filter((bucket) => !entries.has(bucket))
      const sameWrite = resolved.writeCheckpoint === announced.writeCheckpoint
      if (!changed && removed_buckets.length === 0 && sameWrite && this.#done) return false
      const updated_buckets = all.filter((entry) => !sameEntry(announced.buckets.get(entry.bucket), entry))
      await lines.send({ checkpoint_diff: { last_op_id, ...write, updated_buckets, removed_buckets } })
      for (const bucket of removed_buckets) this.#forget(bucket)
    }
    this.#announced = { writeCheckpoint: resolved.writeCheckpoint, streams, buckets: entries }
    return true
  }

  #forget(bucket: string): void {
    this.#positions.delete(bucket)
    this.#view.dropTail(bucket)
  }

  /** Returns the buckets of which the client lacks ops, the most urgent first. */
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

  async #send(bucket: string, checkpoint: OpId, upstream: Upstream, sentBefore: number): Promise<Sent> {
    const { lines } = this.#ports
    const tail = this.#view.tail(bucket)
    if (tail) {
      const after = this.#positions.get(bucket) ?? 0
      await lines.data({ bucket, after, next: tail.last, more: false, ops: tail.ops })
      this.#positions.set(bucket, tail.last)
      this.#view.startTail(bucket)
      return { kind: 'sent', ops: splitOps(tail.ops).length }
    }
    // Ops that arrive while the bucket is read must not be kept: after an interruption there would be a gap before
    // them.
    this.#view.dropTail(bucket)
    let sent = 0
    for (;;) {
      await lines.room()
      const part = await this.#sendPart(bucket, checkpoint)
      if (part === null) {
        // Compaction went beyond this checkpoint, or the bucket is gone: a newer message has its current state.
        const frame = await upstream.next()
        if (!frame) return { kind: 'disconnected' }
        this.#view.apply(frame)
        return { kind: 'interrupted' }
      }
      sent += part.count
      if (!part.more) break
      if (upstream.waiting > 0 && sentBefore + sent >= OPS_BEFORE_INTERRUPTION) return { kind: 'interrupted' }
    }
    // The relay may still report the last op of an erased bucket. Without this, the bucket would be read again at each
    // checkpoint.
    const last = this.#view.states.get(bucket)?.last ?? 0
    if (last > (this.#positions.get(bucket) ?? 0)) this.#positions.set(bucket, last)
    this.#view.startTail(bucket)
    return { kind: 'sent', ops: sent }
  }

  /**
   * Reads once and sends the ops. Returns null when the bucket cannot answer for this checkpoint. It is a function of
   * its own because a function that awaits keeps its variables, even those of blocks that it has left (V8, 2026-11):
   * each stream that waits for room would keep the text of its last read.
   */
  async #sendPart(bucket: string, checkpoint: OpId): Promise<{ count: number; more: boolean } | null> {
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

/** Returns whether nothing changed that must be announced to a client by itself. */
const sameContent = (a: BucketEntry | undefined, b: BucketEntry): boolean =>
  a?.checksum === b.checksum && a.count === b.count

/** Compares reasons and priority as well, which are announced together with the next change. */
const sameEntry = (a: BucketEntry | undefined, b: BucketEntry): boolean =>
  sameContent(a, b) && a?.priority === b.priority && JSON.stringify(a.subscriptions) === JSON.stringify(b.subscriptions)
