import type { BucketState } from '../../protocol/messages/bucket.ts'
import type { NameForm, RelayFrame } from '../../protocol/messages/relay.ts'
import { frameName, hashName } from '../../protocol/names.ts'
import type { OpId } from '../../protocol/ops.ts'
import { KNOWN_BUCKET_BYTES, KNOWN_ROW_BYTES, KNOWN_STREAM_BYTES } from './limits.ts'

/**
 * UTF-16 units of op texts of all buckets that came with notices and were not sent yet. Ops that do not fit are read
 * from the bucket later.
 */
const TAILS_LENGTH = 64 * 1024

interface Tail {
  /** The ops of one notice each. */
  ops: readonly string[]
  last: OpId
  length: number
}

/** The tail of a bucket without ops. Most buckets have none between two checkpoints, and share this one. */
const NO_TAIL: Tail = { ops: [], last: 0, length: 0 }

/**
 * What a stream knows about its buckets: count, checksum and last op of each at one checkpoint. Each message of the
 * relay moves the whole view to its checkpoint.
 */
export class View {
  checkpoint: OpId = 0
  plan: string | null = null
  /** The form of bucket names in the relay's frames. */
  form: NameForm | undefined = 'name'
  readonly states = new Map<string, BucketState>()
  readonly subscribed = new Set<string>()
  /** Changes whenever the inputs of the buckets do: rows of lookups, or subscriptions. */
  version = 0
  /** The rows of lookup buckets, and whether they are current at the checkpoint. */
  readonly #rows = new Map<string, { rows: string[]; valid: boolean }>()
  /** Maps the names of subscribed buckets in frames to their own names, where these differ. */
  readonly #called = new Map<string, string>()
  /** For each bucket the ops since it was last sent completely, without a gap. */
  readonly #tails = new Map<string, Tail>()
  #tailsLength = 0
  readonly #onTails: (length: number) => void

  constructor(onTails: (length: number) => void = () => {}) {
    this.#onTails = onTails
  }

  /** Returns the rows of a lookup bucket, or undefined when they must be read. */
  rows(bucket: string): string[] | undefined {
    const known = this.#rows.get(bucket)
    return known?.valid && this.subscribed.has(bucket) ? known.rows : undefined
  }

  setRows(bucket: string, rows: string[]): void {
    this.#rows.set(bucket, { rows, valid: true })
    this.version++
  }

  subscribe(bucket: string): void {
    this.version++
    this.subscribed.add(bucket)
    const called = this.called(bucket)
    if (called !== bucket) this.#called.set(called, bucket)
  }

  unsubscribe(bucket: string): void {
    this.version++
    this.subscribed.delete(bucket)
    this.#called.delete(this.called(bucket))
    this.states.delete(bucket)
    this.#rows.delete(bucket)
    this.dropTail(bucket)
  }

  /** Returns the bytes that the stream needs when it has these buckets. */
  bytesOf(buckets: Iterable<string>): number {
    let bytes = KNOWN_STREAM_BYTES
    for (const bucket of buckets) {
      bytes += KNOWN_BUCKET_BYTES + bucket.length
      for (const row of this.#rows.get(bucket)?.rows ?? []) bytes += KNOWN_ROW_BYTES + row.length
    }
    return bytes
  }

  /** Returns the name of a bucket in the relay's frames. */
  called(bucket: string): string {
    return this.form === 'name' ? frameName(bucket) : hashName(bucket)
  }

  /**
   * Called for a new upstream, which has no subscriptions yet. The known states stay. `form` is that of its first
   * message.
   */
  unsubscribed(form: NameForm | undefined): void {
    this.form = form
    this.#called.clear()
    this.subscribed.clear()
    this.version++
  }

  apply(frame: RelayFrame): void {
    this.checkpoint = frame.checkpoint
    this.plan = frame.plan
    for (const [called, count, checksum, last, inline] of frame.buckets) {
      const bucket = this.#called.get(called) ?? called
      if (!this.subscribed.has(bucket) || frame.form !== this.form) continue
      // A hash does not identify the bucket of these ops, so they are read by name instead.
      const ops = frame.form === 'name' ? inline : null
      const known = this.states.get(bucket)
      this.states.set(bucket, { count, checksum, last })
      if (known && sameState(known, { count, checksum, last })) continue
      const lookup = this.#rows.get(bucket)
      if (lookup) {
        lookup.valid = false
        this.version++
      }
      const tail = this.#tails.get(bucket)
      if (!tail) continue
      if (ops === null || !known) this.dropTail(bucket)
      else this.#extend(bucket, tail, ops, last)
    }
  }

  /** Called when a bucket was sent completely: later ops follow directly on what the client has. */
  startTail(bucket: string): void {
    this.dropTail(bucket)
    this.#tails.set(bucket, NO_TAIL)
  }

  dropTail(bucket: string): void {
    const length = this.#tails.get(bucket)?.length ?? 0
    this.#tails.delete(bucket)
    if (length > 0) this.#count(-length)
  }

  /** Returns the ops that came with notices, or null when they must be read. */
  tail(bucket: string): { ops: string; last: OpId } | null {
    const tail = this.#tails.get(bucket)
    return tail && tail.ops.length > 0 ? { ops: tail.ops.join(','), last: tail.last } : null
  }

  #extend(bucket: string, tail: Tail, ops: string, last: OpId): void {
    if (this.#tailsLength + ops.length > TAILS_LENGTH) {
      this.dropTail(bucket)
      return
    }
    this.#tails.set(bucket, { ops: [...tail.ops, ops], last, length: tail.length + ops.length })
    this.#count(ops.length)
  }

  #count(change: number): void {
    this.#tailsLength += change
    this.#onTails(this.#tailsLength)
  }
}

/** Compares states without `last`, which compaction and checkpoints without ops do not keep current. */
export const sameState = (a: BucketState | undefined, b: BucketState | undefined): boolean =>
  a !== undefined && b !== undefined && a.checksum === b.checksum && a.count === b.count
