import type { BucketState, NoticeBucket } from '../../protocol/messages.ts'
import type { OpId } from '../../protocol/ops.ts'
import type { StoredAppend, StoredBatch } from './outbox.ts'

/** A committed group of batches, as the notice tells it. */
export interface Commit {
  checkpoint: OpId
  previous: OpId
  plan: string | null
  /** By their whole names. */
  buckets: NoticeBucket[]
  /** Id of the last batch of it. */
  upTo: number
}

export interface PipelineSources {
  /** Starts an append. Every one must be answered by `answered` in the end: the caller repeats it as often as it takes. */
  send(append: StoredAppend, batch: StoredBatch): void
  name(bucket: number): string
}

/** Ops of one bucket are told in the notice itself up to so many UTF-16 units, and of all buckets together. */
const INLINE_BUCKET = 8 * 1024
const INLINE_NOTICE = 64 * 1024

interface Flight {
  batch: StoredBatch
  answers: Map<number, BucketState>
}

/**
 * Stored batches on their way: appended to their buckets in order per bucket, committed in order when every bucket has answered. Pure:
 * the object stores and sends.
 */
export class Pipeline {
  readonly #sources: PipelineSources
  readonly #flights: Flight[] = []
  /** Per bucket what waits; the first is on its way. */
  readonly #queues = new Map<number, { append: StoredAppend; flight: Flight }[]>()

  #appends = 0
  #length = 0
  /** The most that was ever on its way, in UTF-16 units of op texts. */
  peakLength = 0

  constructor(sources: PipelineSources) {
    this.#sources = sources
  }

  /** Batches stored and not committed. */
  get size(): number {
    return this.#flights.length
  }

  /** Batches of which a bucket has not answered. Slices that all have answered do not count: a huge transaction would block itself. */
  get unanswered(): number {
    return this.#flights.filter((flight) => !complete(flight)).length
  }

  /** Appends that are still on their way. */
  get appends(): number {
    return this.#appends
  }

  /** UTF-16 units of op texts that are still on their way. */
  get length(): number {
    return this.#length
  }

  /** Plan behind the newest batch, undefined when none is on its way. */
  get plan(): string | null | undefined {
    return this.#flights.at(-1)?.batch.plan
  }

  /** Slices that wait for their final batch. */
  get openGroup(): boolean {
    const newest = this.#flights.at(-1)
    return newest !== undefined && !newest.batch.final
  }

  dispatch(batch: StoredBatch): void {
    const flight: Flight = { batch, answers: new Map() }
    this.#flights.push(flight)
    for (const append of batch.appends) {
      this.#appends++
      this.#length += append.length
      this.peakLength = Math.max(this.peakLength, this.#length)
      const queue = this.#queues.get(append.bucket)
      if (queue) queue.push({ append, flight })
      else {
        this.#queues.set(append.bucket, [{ append, flight }])
        this.#sources.send(append, batch)
      }
    }
  }

  /** The bucket answered the append that was sent to it. */
  answered(bucket: number, state: BucketState): void {
    const queue = this.#queues.get(bucket)
    const done = queue?.shift()
    if (!queue || !done) throw new Error(`bucket ${bucket} answered what was not asked`)
    this.#appends--
    this.#length -= done.append.length
    done.flight.answers.set(bucket, state)
    const next = queue[0]
    if (next) this.#sources.send(next.append, next.flight.batch)
    else this.#queues.delete(bucket)
  }

  /** Everything that can be committed now, as one commit; several final batches that are ready together become one. */
  commit(committed: OpId): Commit | null {
    let end = 0
    for (let i = 0; i < this.#flights.length; i++) {
      const flight = this.#flights[i]
      if (!flight || !complete(flight)) break
      if (flight.batch.final) end = i + 1
    }
    if (end === 0) return null
    const group = this.#flights.splice(0, end)
    const last = group.at(-1)?.batch
    if (!last) return null
    const buckets = new Map<number, { state: BucketState; ops: string[] | null }>()
    let inline = 0
    for (const { batch, answers } of group) {
      for (const append of batch.appends) {
        const state = answers.get(append.bucket)
        if (!state) throw new Error('a batch is complete without an answer')
        const kept = buckets.get(append.bucket)
        const before = kept ? kept.ops : []
        const length = (before?.reduce((sum, ops) => sum + ops.length, 0) ?? 0) + append.length
        const few = before !== null && length <= INLINE_BUCKET && inline + append.length <= INLINE_NOTICE
        if (few) inline += append.length
        buckets.set(append.bucket, { state, ops: few ? [...before, append.body()] : null })
      }
    }
    return {
      checkpoint: last.last,
      previous: committed,
      plan: last.plan,
      buckets: [...buckets].map(([bucket, { state, ops }]) => [
        this.#sources.name(bucket),
        state.count,
        state.checksum,
        state.last,
        ops === null ? null : ops.join(','),
      ]),
      upTo: last.id,
    }
  }
}

const complete = (flight: Flight) => flight.answers.size === flight.batch.appends.length
