import type { BucketState } from '../../../protocol/messages/bucket.ts'
import type { NoticeBucket } from '../../../protocol/messages/relay.ts'
import type { OpId } from '../../../protocol/ops.ts'
import type { StoredAppend, StoredBatch } from '../store/outbox.ts'

/** A committed group of batches, as the notice announces it. */
export interface Commit {
  checkpoint: OpId
  previous: OpId
  plan: string | null
  /**
   * The buckets by their whole names, or null when there are too many, or a crash has forgotten them: then readers must
   * ask.
   */
  buckets: NoticeBucket[] | null
  /** The id of its last batch. */
  upTo: number
}

export interface PipelinePorts {
  /** Starts an append, which the caller repeats until it can call `answered`. */
  send(append: StoredAppend, batch: StoredBatch): void
  name(bucket: number): string
  /** Returns true when the bucket's ops are dropped. */
  skips(bucket: number): boolean
  /** Reads a stored batch that is not in memory. */
  read(id: number): StoredBatch
}

/** The most UTF-16 units of one bucket's ops, and of all buckets' ops, that a notice carries. */
const INLINE_BUCKET = 8 * 1024
const INLINE_NOTICE = 64 * 1024
/** The most buckets that a notice names. A commit with more is announced by a gap. */
export const NAMED_BUCKETS = 20_000
/**
 * The number of appends in memory, and of UTF-16 units of their ops, above which further batches stay in storage until
 * some are answered. One more batch may be in flight.
 */
const WINDOW_APPENDS = 10_000
const WINDOW_LENGTH = 8 * 1024 * 1024

export interface PipelineLimits {
  buckets: number
  appends: number
  length: number
}
const LIMITS: PipelineLimits = { buckets: NAMED_BUCKETS, appends: WINDOW_APPENDS, length: WINDOW_LENGTH }

/** What the notice says of a bucket. */
interface Noticed {
  state: BucketState | null
  /** The ops, or null when they are too long. */
  ops: string[] | null
  length: number
}

/** Batches that are committed together: slices with their last one, or several whole batches. */
interface Group {
  upTo: number
  last: OpId
  plan: string | null
  final: boolean
  /** The number of unanswered appends. */
  open: number
  /** Null as in `Commit`. */
  noticed: Map<number, Noticed> | null
  /** UTF-16 units of the ops in the notice. */
  inline: number
}

interface Flight {
  batch: StoredBatch
  group: Group
  open: number
}

/**
 * Stored batches in flight. They are appended to their buckets in order per bucket, and committed in order when every
 * bucket has answered. Memory holds a few batches at a time, and of answered ones only what the notice says, regardless
 * of the size of a transaction. The others wait in storage. Pure: the object stores and sends.
 */
export class Pipeline {
  readonly #ports: PipelinePorts
  readonly #limits: PipelineLimits
  readonly #groups: Group[] = []
  /** Batches with unanswered appends, oldest first. */
  readonly #flights = new Set<Flight>()
  /** The appends of each bucket. The first one is in flight. */
  readonly #queues = new Map<number, { append: StoredAppend; flight: Flight }[]>()
  /** The ids of the newest batch that is committed, that was loaded into memory, and that is stored. */
  #committed = 0
  #loaded = 0
  #newest: Pick<StoredBatch, 'id' | 'final' | 'plan'> | null = null

  #appends = 0
  #length = 0
  /** The most that was ever in flight, in UTF-16 units of op texts. */
  peakLength = 0

  constructor(ports: PipelinePorts, limits: PipelineLimits = LIMITS) {
    this.#ports = ports
    this.#limits = limits
  }

  /** The number of batches that are stored but not committed. */
  get size(): number {
    return this.#newest === null ? 0 : this.#newest.id - this.#committed
  }

  /**
   * The number of batches with an unanswered bucket. Slices that all buckets have answered do not count, or a huge
   * transaction would block itself.
   */
  get unanswered(): number {
    return this.#flights.size + (this.#newest === null ? 0 : this.#newest.id - this.#loaded)
  }

  /** The number of appends in flight. */
  get appends(): number {
    return this.#appends
  }

  /** UTF-16 units of op texts in flight. */
  get length(): number {
    return this.#length
  }

  /**
   * The newest batch up to which all are answered, committed or not. It is stored with the next batch, because answered
   * ones need not be sent again.
   */
  get answeredUpTo(): number {
    for (const { batch } of this.#flights) return batch.id - 1
    return this.#loaded
  }

  /** True when slices wait for their final batch. */
  get openGroup(): boolean {
    return this.size > 0 && this.#newest?.final === false
  }

  /** Sends a stored batch. */
  dispatch(batch: StoredBatch): void {
    if (this.#newest === null) this.#committed = this.#loaded = batch.id - 1
    this.#newest = { id: batch.id, final: batch.final, plan: batch.plan }
    if (this.#loaded === batch.id - 1 && this.#hasRoom) this.#load(batch)
  }

  /**
   * Continues after a crash. `committed` is the newest committed batch, and `answered` the one up to which all buckets
   * have answered.
   */
  recover(committed: number, newest: Pick<StoredBatch, 'id' | 'final' | 'plan'>, answered: number): void {
    this.#newest = { id: newest.id, final: newest.final, plan: newest.plan }
    this.#committed = committed
    // The last of them is loaded again, because it says to which group it belongs.
    this.#loaded = Math.max(committed, Math.min(answered, newest.id) - 1)
    if (this.#loaded > committed) this.#groups.push({ ...newGroup(), noticed: null })
    this.#fill()
  }

  /** The bucket has answered the append that was sent to it. */
  answered(bucket: number, state: BucketState): void {
    const queue = this.#queues.get(bucket)
    const done = queue?.shift()
    if (!queue || !done) throw new Error(`bucket ${bucket} answered without being asked`)
    const { append, flight } = done
    const noticed = flight.group.noticed?.get(bucket)
    if (noticed) noticed.state = state
    this.#gone(append, flight)
    if (isReady(flight.group)) this.#joinReady()
    const next = queue[0]
    if (next) this.#ports.send(next.append, next.flight.batch)
    else this.#queues.delete(bucket)
    this.#fill()
  }

  /**
   * Drops everything in flight to this bucket. Its answers must not reach `answered` any more, and commits do not
   * mention it.
   */
  drop(bucket: number): void {
    for (const { append, flight } of this.#queues.get(bucket) ?? []) this.#gone(append, flight)
    this.#queues.delete(bucket)
    for (const { noticed } of this.#groups) noticed?.delete(bucket)
    this.#joinReady()
    this.#fill()
  }

  /**
   * Returns everything that can be committed now as one commit, or null. Several final batches that are ready together
   * become one.
   */
  commit(committed: OpId): Commit | null {
    this.#joinReady()
    const [group] = this.#groups
    if (!group || !isReady(group)) return null
    this.#groups.shift()
    this.#committed = group.upTo
    return {
      checkpoint: group.last,
      previous: committed,
      plan: group.plan,
      buckets: group.noticed && [...group.noticed].map(([bucket, noticed]) => this.#notice(bucket, noticed)),
      upTo: group.upTo,
    }
  }

  /** The append is no longer waited for. */
  #gone(append: StoredAppend, flight: Flight): void {
    this.#appends--
    this.#length -= append.length
    flight.open--
    flight.group.open--
    if (flight.open === 0) this.#flights.delete(flight)
  }

  #notice(bucket: number, { state, ops }: Noticed): NoticeBucket {
    if (!state) throw new Error('a batch is complete without an answer')
    return [this.#ports.name(bucket), state.count, state.checksum, state.last, ops === null ? null : ops.join(',')]
  }

  get #hasRoom(): boolean {
    return this.#appends < this.#limits.appends && this.#length < this.#limits.length
  }

  #fill(): void {
    while (this.#newest !== null && this.#loaded < this.#newest.id && this.#hasRoom)
      this.#load(this.#ports.read(this.#loaded + 1))
  }

  #load(batch: StoredBatch): void {
    const newest = this.#groups.at(-1)
    const group = newest && !newest.final ? newest : newGroup()
    if (group !== newest) this.#groups.push(group)
    Object.assign(group, { upTo: batch.id, last: batch.last, plan: batch.plan, final: batch.final })
    this.#loaded = batch.id
    const appends = batch.appends.filter(({ bucket }) => !this.#ports.skips(bucket))
    const flight: Flight = { batch: { ...batch, appends: [] }, group, open: appends.length }
    if (flight.open > 0) this.#flights.add(flight)
    group.open += flight.open
    for (const append of appends) {
      this.#appends++
      this.#length += append.length
      this.peakLength = Math.max(this.peakLength, this.#length)
      this.#addToNotice(group, append)
      const queue = this.#queues.get(append.bucket)
      if (queue) queue.push({ append, flight })
      else {
        this.#queues.set(append.bucket, [{ append, flight }])
        this.#ports.send(append, batch)
      }
    }
  }

  /** Joins neighbouring groups that are ready, because they are committed together once an older one is. */
  #joinReady(): void {
    for (let i = 1; i < this.#groups.length;) {
      const [before, group] = [this.#groups[i - 1], this.#groups[i]]
      if (!before || !group || !isReady(before) || !isReady(group)) i++
      else this.#groups.splice(i - 1, 2, join(before, group, this.#limits.buckets))
    }
  }

  /** Adds this append to the notice of its group. Its ops are read now, while they are in memory. */
  #addToNotice(group: Group, { bucket, length, body }: StoredAppend): void {
    if (group.noticed === null) return
    const noticed = group.noticed.get(bucket) ?? { state: null, ops: [], length: 0 }
    group.noticed.set(bucket, noticed)
    noticed.length += length
    if (noticed.ops !== null && noticed.length <= INLINE_BUCKET && group.inline + length <= INLINE_NOTICE) {
      group.inline += length
      noticed.ops.push(body())
    } else noticed.ops = null
    if (group.noticed.size > this.#limits.buckets) group.noticed = null
  }
}

const newGroup = (): Group => ({ upTo: 0, last: 0, plan: null, final: false, open: 0, noticed: new Map(), inline: 0 })
const isReady = (group: Group) => group.final && group.open === 0

function join(a: Group, b: Group, most: number): Group {
  if (a.noticed === null || b.noticed === null) return { ...b, noticed: null }
  const noticed = new Map(a.noticed)
  let inline = a.inline
  for (const [bucket, { state, ops, length }] of b.noticed) {
    const before = noticed.get(bucket) ?? { ops: [], length: 0 }
    const few =
      before.ops !== null && ops !== null && before.length + length <= INLINE_BUCKET && inline + length <= INLINE_NOTICE
    if (few) inline += length
    noticed.set(bucket, {
      state,
      ops: few ? [...(before.ops ?? []), ...(ops ?? [])] : null,
      length: before.length + length,
    })
  }
  return { ...b, noticed: noticed.size > most ? null : noticed, inline }
}
