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
  /** Whatever was found equal or mended of it says nothing. */
  lacksAgain(bucket: number): void
}

export interface FencingPorts {
  store: Store
  comparison: Comparison
  watchers: Pick<Watchers, 'untold'>
  clock: Clock
  /** One attempt. */
  append(bucket: string, request: AppendRequest): Promise<unknown>
  untilAnswered: Repeat
  /** What was sent to the bucket last may be what would have made it look as if it had never been: it stays for another round. In a transaction. */
  touched(bucket: number): void
}

/** The life of a fence: begun, probed until the bucket answers, compared until nothing is missing, lifted. Pure but for its ports; the simulation runs this class. */
export class Fencing {
  readonly #ports: FencingPorts
  /** Not before then fenced buckets are compared. */
  #compareAt = 0
  readonly #probing = new Set<number>()
  readonly #changed = new Listeners()
  readonly #answered = new Listeners()

  constructor(ports: FencingPorts) {
    this.#ports = ports
  }

  /** Everybody is to hear which buckets are fenced now. */
  onChange(listener: () => void): () => void {
    return this.#changed.add(listener)
  }

  /** A bucket has answered: there is work for a session. */
  onAnswer(listener: () => void): () => void {
    return this.#answered.add(listener)
  }

  /** Commits go on without the bucket of this append. */
  begin({ bucket }: Pick<StoredAppend, 'bucket'>, unansweredMs: number): void {
    const { store, comparison, clock, touched } = this.#ports
    const { state, fences, diagnostics } = store
    store.atomically(() => {
      // An earlier incarnation may have sent more than the append that is on its way now, and nothing that is not stored.
      const barrier = state.get('decode').counter
      fences.begin({ bucket, since: new Date(clock.now()).toISOString(), barrier, served: store.serving.checkpoint })
      touched(bucket)
      // It says nothing of the fence.
      state.set('commit', { ...state.get('commit'), named: null })
    })
    comparison.lacksAgain(bucket)
    const reason = `it has taken no appends for ${unansweredMs / 1_000} s: commits go on without it, and its readers are refused until it takes them again and is mended`
    diagnostics.add({ code: 'ROCKPOOL_BUCKET_FENCED', key: store.buckets.name(bucket), reason })
    this.#changed.tell()
    this.#probe(bucket)
  }

  /** After a start. */
  probeAll(): void {
    for (const bucket of this.#ports.store.fences.silent) this.#probe(bucket)
  }

  /** Buckets that answer again are compared, as soon as nothing else is. */
  compare(): void {
    const { store, comparison, clock } = this.#ports
    const buckets = store.fences.answering
    if (buckets.length === 0 || clock.now() < this.#compareAt || store.planStored === null) return
    // What is served now may lack what the bucket lacked, for as long as it is served.
    if (!comparison.running && store.state.get('commit').hold === null) comparison.compareBuckets(buckets)
  }

  /** They are as row state says they are, or did not answer. What was mended is compared once more, what could not be later. */
  compared(buckets: readonly number[], outcome: Outcome): void {
    const { store, watchers, clock } = this.#ports
    const { fences, state } = store
    const fenced = buckets.filter((bucket) => fences.answering.includes(bucket))
    if (outcome === 'left') this.#compareAt = clock.now() + PROBE.maxMs
    if (fenced.length === 0 || outcome === 'left' || outcome === 'mended') return
    if (outcome === 'silent') {
      // What is on its way now is forgotten when this incarnation ends.
      store.atomically(() => fences.silenced(fenced, state.get('decode').counter))
      for (const bucket of fenced) this.#probe(bucket)
      return
    }
    // A hold that was begun meanwhile: compared once more behind it.
    if (state.get('commit').hold !== null) return
    store.atomically(() => {
      fences.end(fenced)
      // Meanwhile they were told of no commit.
      state.set('commit', { ...state.get('commit'), published: null })
    })
    watchers.untold()
    this.#changed.tell()
  }

  status(): ReplicatorStatus['fencedBuckets'] {
    const { fences, buckets } = this.#ports.store
    return fences.all.map(({ bucket, since, answers }) => {
      return { bucket: buckets.name(bucket), since, state: answers ? 'comparing' : 'silent' }
    })
  }

  /** Until it answers. Behind the answer nothing that was sent before has any effect. */
  #probe(bucket: number): void {
    if (this.#probing.has(bucket)) return
    this.#probing.add(bucket)
    const { store, append, untilAnswered } = this.#ports
    const { fences, buckets } = store
    const silent = () => (fences.isSilent(bucket) ? fences.of(bucket) : null)
    const ask = async () => {
      const fence = silent()
      if (fence) await append(buckets.name(bucket), probeOf(fence))
      if (fence && fence.barrier !== (silent() ?? fence).barrier) throw new Error('more was sent to it since it was asked')
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
