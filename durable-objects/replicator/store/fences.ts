import type { OpId } from '../../../protocol/ops.ts'
import type { Append } from '../ingest/batch.ts'
import type { StateStore } from './storage.ts'
import type { Fence } from './stored.ts'

/** The most fences. When more buckets are silent, the cause is elsewhere, so commits wait for the others. */
export const MAX_FENCES = 100

/** The fences, which are stored as one value because they are few. Reads are served from memory. */
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

  /** Returns true for a bucket whose ops are neither stored nor sent. */
  isSilent(bucket: number): boolean {
    return this.of(bucket)?.answers === false
  }

  get silent(): number[] {
    return this.all.flatMap(({ bucket, answers }) => (answers ? [] : [bucket]))
  }

  get answering(): number[] {
    return this.all.flatMap(({ bucket, answers }) => (answers ? [bucket] : []))
  }

  /**
   * Returns true when a bucket that has not answered must be fenced, or fenced again, because an append may have been
   * in flight while it was compared.
   */
  isDue(bucket: number, silentMs: number, limitMs: number): boolean {
    return silentMs >= limitMs && (this.of(bucket) !== null || this.all.length < this.#most)
  }

  /**
   * Begins a fence. Like each of these methods, it writes one row. A bucket that falls silent again was never announced
   * in between.
   */
  begin(fence: Omit<Fence, 'answers'>): void {
    const before = this.of(fence.bucket)
    const { since, served } = before ?? fence
    this.#set([...this.#others([fence.bucket]), { ...fence, since, served, answers: false }])
  }

  answered(bucket: number): void {
    this.#set(this.all.map((each) => (each.bucket === bucket ? { ...each, answers: true } : each)))
  }

  /**
   * Marks buckets that did not answer the comparison as silent again. They may have been sent ops up to `barrier`
   * meanwhile.
   */
  silenced(buckets: readonly number[], barrier: OpId): void {
    this.#set(this.all.map((each) => (buckets.includes(each.bucket) ? { ...each, barrier, answers: false } : each)))
  }

  /**
   * Removes fences of buckets that no longer exist, after a start: code without fences may have dropped such buckets.
   */
  keepOnly(exists: (bucket: number) => boolean): void {
    this.end(this.all.map(({ bucket }) => bucket).filter((bucket) => !exists(bucket)))
  }

  end(buckets: readonly number[]): void {
    if (!this.all.some(({ bucket }) => buckets.includes(bucket))) return
    this.#set(this.#others(buckets))
  }

  /** Returns the appends of a batch that are stored and sent. */
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
