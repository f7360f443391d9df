import type { AppendRequest } from '../../../protocol/messages/bucket.ts'
import type { ReplicatorStatus } from '../../../protocol/messages/status.ts'
import type { Clock } from '../../shared/clock.ts'
import { Listeners } from '../../shared/listeners.ts'
import type { Repeat } from '../../shared/retry.ts'
import type { StoredAppend } from '../store/outbox.ts'
import type { Store } from '../store/store.ts'
import type { Outcome } from '../verify/comparisons.ts'
import { probeOf } from './probe.ts'
import type { Watchers } from './watchers.ts'

const PROBE = { firstMs: 1_000, maxMs: 60_000 }

/** The comparison of fenced buckets with row state. */
export interface Comparison {
  readonly running: boolean
  compareBuckets(buckets: readonly number[]): void
  /** The bucket lacks ops again, so what was found equal or repaired no longer counts. */
  lacksAgain(bucket: number): void
}

export interface FencingPorts {
  store: Store
  comparison: Comparison
  watchers: Pick<Watchers, 'missed'>
  clock: Clock
  /** Makes one attempt. */
  append(bucket: string, request: AppendRequest): Promise<unknown>
  untilAnswered: Repeat
  /**
   * Keeps the bucket for another round: the op that makes its checksum 0 before erasing may be among what was sent to
   * it. Called in a transaction.
   */
  touched(bucket: number): void
}

/**
 * The life of a fence: it begins, the bucket is probed until it answers, and compared until nothing is missing, and the
 * fence is lifted. Pure but for its ports; the simulation runs this class.
 */
export class Fencing {
  readonly #ports: FencingPorts
  /** The earliest time at which fenced buckets are compared. */
  #compareAt = 0
  readonly #probing = new Set<number>()
  readonly #changed = new Listeners()
  readonly #answered = new Listeners()

  constructor(ports: FencingPorts) {
    this.#ports = ports
  }

  /** Subscribes to changes of the list of fenced buckets. Returns the function that unsubscribes. */
  onChange(listener: () => void): () => void {
    return this.#changed.add(listener)
  }

  /** Subscribes to answers of fenced buckets, which are work for a session. Returns the function that unsubscribes. */
  onAnswer(listener: () => void): () => void {
    return this.#answered.add(listener)
  }

  /** Fences the bucket of this append, so that commits continue without it. */
  begin({ bucket }: Pick<StoredAppend, 'bucket'>, unansweredMs: number): void {
    const { store, comparison, clock, touched } = this.#ports
    const { state, fences, diagnostics } = store
    store.atomically(() => {
      // An earlier incarnation may have sent more than the append that is in flight now, but only what is stored.
      const barrier = state.get('decode').counter
      fences.begin({ bucket, since: new Date(clock.now()).toISOString(), barrier, served: store.serving.checkpoint })
      touched(bucket)
      // The stored notice does not mention the fence.
      state.set('commit', { ...state.get('commit'), named: null })
    })
    comparison.lacksAgain(bucket)
    const reason = `it has accepted no appends for ${unansweredMs / 1_000} s: commits continue without it, and its readers are refused until it accepts them again and is repaired`
    diagnostics.add({ code: 'ROCKPOOL_BUCKET_FENCED', key: store.buckets.name(bucket), reason })
    this.#changed.tell()
    this.#probe(bucket)
  }

  /** Probes all fenced buckets, after a start. */
  probeAll(): void {
    for (const bucket of this.#ports.store.fences.silent) this.#probe(bucket)
  }

  /** Compares buckets that answer again, as soon as no other comparison runs. */
  compare(): void {
    const { store, comparison, clock } = this.#ports
    const buckets = store.fences.answering
    if (buckets.length === 0 || clock.now() < this.#compareAt || store.planStored === null) return
    // A held checkpoint may lack what the bucket lacked, so the comparison waits for the end of the hold.
    if (!comparison.running && store.state.get('commit').hold === null) comparison.compareBuckets(buckets)
  }

  /**
   * The comparison has ended: the buckets match row state, or did not answer. Repaired buckets are compared again now,
   * silent ones later.
   */
  compared(buckets: readonly number[], outcome: Outcome): void {
    const { store, watchers, clock } = this.#ports
    const { fences, state } = store
    const fenced = buckets.filter((bucket) => fences.answering.includes(bucket))
    if (outcome === 'left') this.#compareAt = clock.now() + PROBE.maxMs
    if (fenced.length === 0 || outcome === 'left' || outcome === 'mended') return
    if (outcome === 'silent') {
      // Appends in flight are forgotten when this incarnation ends, so the barrier is stored.
      store.atomically(() => fences.silenced(fenced, state.get('decode').counter))
      for (const bucket of fenced) this.#probe(bucket)
      return
    }
    // A hold has begun meanwhile, so they are compared again after it.
    if (state.get('commit').hold !== null) return
    store.atomically(() => {
      fences.end(fenced)
      // No commit was published to these buckets meanwhile.
      state.set('commit', { ...state.get('commit'), published: null })
    })
    watchers.missed()
    this.#changed.tell()
  }

  status(): ReplicatorStatus['fencedBuckets'] {
    const { fences, buckets } = this.#ports.store
    return fences.all.map(({ bucket, since, answers }) => {
      return { bucket: buckets.name(bucket), since, state: answers ? 'comparing' : 'silent' }
    })
  }

  /** Probes the bucket until it answers. After the answer, nothing that was sent before has any effect. */
  #probe(bucket: number): void {
    if (this.#probing.has(bucket)) return
    this.#probing.add(bucket)
    const { store, append, untilAnswered } = this.#ports
    const { fences, buckets } = store
    const silent = () => (fences.isSilent(bucket) ? fences.of(bucket) : null)
    const ask = async () => {
      const fence = silent()
      if (fence) await append(buckets.name(bucket), probeOf(fence))
      if (fence && fence.barrier !== (silent() ?? fence).barrier)
        throw new Error('more was sent to the bucket after the probe')
    }
    untilAnswered(ask, { ...PROBE, wanted: () => silent() !== null })
      .then(() => {
        this.#probing.delete(bucket)
        if (!silent()) return
        store.atomically(() => fences.answered(bucket))
        this.#answered.tell()
      })
      .catch((error: unknown) => store.reset(error))
  }
}
