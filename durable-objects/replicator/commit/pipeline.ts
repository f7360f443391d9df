import type { BucketState } from '../../../protocol/messages/bucket.ts'
import type { NoticeBucket } from '../../../protocol/messages/relay.ts'
import type { OpId } from '../../../protocol/ops.ts'
import type { StoredAppend, StoredBatch } from '../store/outbox.ts'

/** A committed group of batches, as the notice tells it. */
export interface Commit {
  checkpoint: OpId
  previous: OpId
  plan: string | null
  /** By their whole names. Null: there are too many, or a crash has forgotten them; whoever wants to know must ask. */
  buckets: NoticeBucket[] | null
  /** Id of the last batch of it. */
  upTo: number
}

export interface PipelinePorts {
  /** Starts an append. Every one must be answered by `answered` in the end: the caller repeats it as often as it takes. */
  send(append: StoredAppend, batch: StoredBatch): void
  name(bucket: number): string
  /** Whether its ops are thrown away. */
  skips(bucket: number): boolean
  /** A batch that is stored and not in memory. */
  read(id: number): StoredBatch
}

/** Ops of one bucket are told in the notice itself up to so many UTF-16 units, and of all buckets together. */
const INLINE_BUCKET = 8 * 1024
const INLINE_NOTICE = 64 * 1024
/** Buckets that a notice names. A commit of more is told as a gap. */
export const TOLD_BUCKETS = 20_000
/** Appends in memory, and UTF-16 units of their ops, at which further batches stay in storage until some are answered. One batch more may be on its way. */
const WINDOW_APPENDS = 10_000
const WINDOW_LENGTH = 8 * 1024 * 1024

export interface PipelineLimits {
  told: number
  appends: number
  length: number
}
const LIMITS: PipelineLimits = { told: TOLD_BUCKETS, appends: WINDOW_APPENDS, length: WINDOW_LENGTH }

/** What the notice tells of a bucket. */
interface Told {
  state: BucketState | null
  /** Null: too long. */
  ops: string[] | null
  length: number
}

/** Batches that are committed together: slices with their last one, or more. */
interface Group {
  upTo: number
  last: OpId
  plan: string | null
  final: boolean
  /** Appends that are not answered. */
  open: number
  /** Null: see `Commit`. */
  told: Map<number, Told> | null
  /** UTF-16 units of ops that the notice tells. */
  inline: number
}

interface Flight {
  batch: StoredBatch
  group: Group
  open: number
}

/**
 * Stored batches on their way: appended to their buckets in order per bucket, committed in order when every bucket has answered. In memory are a few batches
 * at a time, and of what is answered only what the notice tells, whatever the size of a transaction; the others wait in storage. Pure: the object stores and
 * sends.
 */
export class Pipeline {
  readonly #ports: PipelinePorts
  readonly #limits: PipelineLimits
  readonly #groups: Group[] = []
  /** Batches with appends that are not answered, oldest first. */
  readonly #flights = new Set<Flight>()
  /** Per bucket what waits; the first is on its way. */
  readonly #queues = new Map<number, { append: StoredAppend; flight: Flight }[]>()
  /** Ids: the newest batch that is committed, that was taken into memory, and that is stored. */
  #committed = 0
  #loaded = 0
  #newest: Pick<StoredBatch, 'id' | 'final' | 'plan'> | null = null

  #appends = 0
  #length = 0
  /** The most that was ever on its way, in UTF-16 units of op texts. */
  peakLength = 0

  constructor(ports: PipelinePorts, limits: PipelineLimits = LIMITS) {
    this.#ports = ports
    this.#limits = limits
  }

  /** Batches stored and not committed. */
  get size(): number {
    return this.#newest === null ? 0 : this.#newest.id - this.#committed
  }

  /** Batches of which a bucket has not answered. Slices that all have answered do not count: a huge transaction would block itself. */
  get unanswered(): number {
    return this.#flights.size + (this.#newest === null ? 0 : this.#newest.id - this.#loaded)
  }

  /** Appends that are still on their way. */
  get appends(): number {
    return this.#appends
  }

  /** UTF-16 units of op texts that are still on their way. */
  get length(): number {
    return this.#length
  }

  /** The newest batch up to which all are answered, committed or not. Stored with the next one: what was answered need not be sent again. */
  get answeredUpTo(): number {
    for (const { batch } of this.#flights) return batch.id - 1
    return this.#loaded
  }

  /** Slices that wait for their final batch. */
  get openGroup(): boolean {
    return this.size > 0 && this.#newest?.final === false
  }

  /** A batch was stored. */
  dispatch(batch: StoredBatch): void {
    if (this.#newest === null) this.#committed = this.#loaded = batch.id - 1
    this.#newest = { id: batch.id, final: batch.final, plan: batch.plan }
    if (this.#loaded === batch.id - 1 && this.#hasRoom) this.#load(batch)
  }

  /** What a crash left. `committed`: the newest batch that is; `answered`: up to where all buckets have answered. */
  recover(committed: number, newest: Pick<StoredBatch, 'id' | 'final' | 'plan'>, answered: number): void {
    this.#newest = { id: newest.id, final: newest.final, plan: newest.plan }
    this.#committed = committed
    // The last of them comes again: it says what it belongs to.
    this.#loaded = Math.max(committed, Math.min(answered, newest.id) - 1)
    if (this.#loaded > committed) this.#groups.push({ ...newGroup(), told: null })
    this.#fill()
  }

  /** The bucket answered the append that was sent to it. */
  answered(bucket: number, state: BucketState): void {
    const queue = this.#queues.get(bucket)
    const done = queue?.shift()
    if (!queue || !done) throw new Error(`bucket ${bucket} answered what was not asked`)
    const { append, flight } = done
    const told = flight.group.told?.get(bucket)
    if (told) told.state = state
    this.#gone(append, flight)
    if (isReady(flight.group)) this.#joinReady()
    const next = queue[0]
    if (next) this.#ports.send(next.append, next.flight.batch)
    else this.#queues.delete(bucket)
    this.#fill()
  }

  /** What is on its way to this bucket is thrown away: an answer of it is not for `answered` any more. Commits tell nothing of it. */
  drop(bucket: number): void {
    for (const { append, flight } of this.#queues.get(bucket) ?? []) this.#gone(append, flight)
    this.#queues.delete(bucket)
    for (const { told } of this.#groups) told?.delete(bucket)
    this.#joinReady()
    this.#fill()
  }

  /** Everything that can be committed now, as one commit; several final batches that are ready together become one. */
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
      buckets: group.told && [...group.told].map(([bucket, told]) => this.#notice(bucket, told)),
      upTo: group.upTo,
    }
  }

  /** It is not waited for any more. */
  #gone(append: StoredAppend, flight: Flight): void {
    this.#appends--
    this.#length -= append.length
    flight.open--
    flight.group.open--
    if (flight.open === 0) this.#flights.delete(flight)
  }

  #notice(bucket: number, { state, ops }: Told): NoticeBucket {
    if (!state) throw new Error('a batch is complete without an answer')
    return [this.#ports.name(bucket), state.count, state.checksum, state.last, ops === null ? null : ops.join(',')]
  }

  get #hasRoom(): boolean {
    return this.#appends < this.#limits.appends && this.#length < this.#limits.length
  }

  #fill(): void {
    while (this.#newest !== null && this.#loaded < this.#newest.id && this.#hasRoom) this.#load(this.#ports.read(this.#loaded + 1))
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
      this.#tell(group, append)
      const queue = this.#queues.get(append.bucket)
      if (queue) queue.push({ append, flight })
      else {
        this.#queues.set(append.bucket, [{ append, flight }])
        this.#ports.send(append, batch)
      }
    }
  }

  /** Neighbours that are ready are committed together: while an older one waits, those after it are one. */
  #joinReady(): void {
    for (let i = 1; i < this.#groups.length;) {
      const [before, group] = [this.#groups[i - 1], this.#groups[i]]
      if (!before || !group || !isReady(before) || !isReady(group)) i++
      else this.#groups.splice(i - 1, 2, join(before, group, this.#limits.told))
    }
  }

  /** The group's notice tells of this append as well. Its ops are read while they are in memory. */
  #tell(group: Group, { bucket, length, body }: StoredAppend): void {
    if (group.told === null) return
    const told = group.told.get(bucket) ?? { state: null, ops: [], length: 0 }
    group.told.set(bucket, told)
    told.length += length
    if (told.ops !== null && told.length <= INLINE_BUCKET && group.inline + length <= INLINE_NOTICE) {
      group.inline += length
      told.ops.push(body())
    } else told.ops = null
    if (group.told.size > this.#limits.told) group.told = null
  }
}

const newGroup = (): Group => ({ upTo: 0, last: 0, plan: null, final: false, open: 0, told: new Map(), inline: 0 })
const isReady = (group: Group) => group.final && group.open === 0

function join(a: Group, b: Group, most: number): Group {
  if (a.told === null || b.told === null) return { ...b, told: null }
  const told = new Map(a.told)
  let inline = a.inline
  for (const [bucket, { state, ops, length }] of b.told) {
    const before = told.get(bucket) ?? { ops: [], length: 0 }
    const few = before.ops !== null && ops !== null && before.length + length <= INLINE_BUCKET && inline + length <= INLINE_NOTICE
    if (few) inline += length
    told.set(bucket, { state, ops: few ? [...(before.ops ?? []), ...(ops ?? [])] : null, length: before.length + length })
  }
  return { ...b, told: told.size > most ? null : told, inline }
}
