import type { OpId } from '../../../protocol/ops.ts'
import type { Append } from '../ingest/batch.ts'
import type { StateStore } from './storage.ts'
import type { Fence } from './stored.ts'

/** When more buckets than this are silent it is not they that are at fault: commits wait for all further ones. */
export const MAX_FENCES = 100

/** Stored as one value: there are few. Reads are served from memory. */
export class Fences {
  readonly #state: StateStore
  readonly #most: number

  constructor(state: StateStore, most = MAX_FENCES) {
    this.#state = state
    this.#most = most
  }

  get all(): readonly Fence[] {
    return this.#state.get('fences')
  }

  of(bucket: number): Fence | null {
    return this.all.find((each) => each.bucket === bucket) ?? null
  }

  /** Its ops are neither stored nor sent. */
  isSilent(bucket: number): boolean {
    return this.of(bucket)?.answers === false
  }

  get silent(): number[] {
    return this.all.flatMap(({ bucket, answers }) => (answers ? [] : [bucket]))
  }

  get answering(): number[] {
    return this.all.flatMap(({ bucket, answers }) => (answers ? [bucket] : []))
  }

  /** Whether a bucket that has not answered something that is waited for is to be fenced, also once more: what was on its way when it was compared may be. */
  isDue(bucket: number, silentMs: number, limitMs: number): boolean {
    return silentMs >= limitMs && (this.of(bucket) !== null || this.all.length < this.#most)
  }

  /** One row written, as by each of these. A bucket that was silent before, and is again, was never announced meanwhile. */
  begin(fence: Omit<Fence, 'answers'>): void {
    const before = this.of(fence.bucket)
    const { since, served } = before ?? fence
    this.#set([...this.#others([fence.bucket]), { ...fence, since, served, answers: false }])
  }

  answered(bucket: number): void {
    this.#set(this.all.map((each) => (each.bucket === bucket ? { ...each, answers: true } : each)))
  }

  /** They did not answer when they were compared. Since they answered they may have been sent more, up to `barrier`. */
  silenced(buckets: readonly number[], barrier: OpId): void {
    this.#set(this.all.map((each) => (buckets.includes(each.bucket) ? { ...each, barrier, answers: false } : each)))
  }

  /** After a start: code that knows of no fences may have dropped buckets that were fenced. */
  keepOnly(exists: (bucket: number) => boolean): void {
    this.end(this.all.map(({ bucket }) => bucket).filter((bucket) => !exists(bucket)))
  }

  end(buckets: readonly number[]): void {
    if (!this.all.some(({ bucket }) => buckets.includes(bucket))) return
    this.#set(this.#others(buckets))
  }

  /** What of a batch is stored and sent. */
  sendable(appends: ReadonlyMap<number, Append>): ReadonlyMap<number, Append> {
    if (this.all.length === 0) return appends
    return new Map([...appends].filter(([bucket]) => !this.isSilent(bucket)))
  }

  #others(buckets: readonly number[]): Fence[] {
    return this.all.filter(({ bucket }) => !buckets.includes(bucket))
  }

  #set(fences: Fence[]): void {
    this.#state.set('fences', fences)
  }
}
