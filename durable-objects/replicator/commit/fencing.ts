import type { AppendRequest } from '../../../protocol/messages/bucket.ts'
import type { Serving } from '../../../protocol/messages/replicator.ts'
import { untilAnswered } from '../../shared/retry.ts'
import type { Buckets } from '../store/buckets.ts'
import type { Diagnostics } from '../store/diagnostics.ts'
import type { Fences } from './fences.ts'
import type { StoredAppend } from '../store/outbox.ts'
import { probeOf } from './probe.ts'
import type { StateStore } from '../store/storage.ts'
import type { Outcome, Verification } from '../verify/verification.ts'

const PROBE = { firstMs: 1_000, maxMs: 60_000 }

export interface FencingPorts {
  fences: Fences
  buckets: Pick<Buckets, 'name'>
  state: StateStore
  diagnostics: Diagnostics
  verification: Verification
  append(bucket: string, request: AppendRequest): Promise<unknown>
  /** One transaction; an object whose memory may differ from it is reset. */
  atomically<T>(work: () => T): T
  /** Everybody hears which buckets are fenced. */
  tell(): void
  /** Some buckets that are followed directly have not been told of what the others were told of. */
  untold(): void
  /** What was sent to the bucket last may be what would have made it look as if it had never been: it stays for another round. In a transaction. */
  touched(bucket: number): void
  serving(): Serving
  /** Some plan serves, so buckets can be compared with row state. */
  served(): boolean
  /** There is work for a session. */
  answered(): void
  failed(error: unknown): void
  /** Of one call. */
  deadlineMs: number
}

/** The life of a fence: begun, probed until the bucket answers, compared until nothing is missing, lifted. */
export class Fencing {
  readonly #ports: FencingPorts
  /** Not before then fenced buckets are compared. */
  #compareAt = 0
  readonly #probing = new Set<number>()

  constructor(ports: FencingPorts) {
    this.#ports = ports
  }

  /** Of all buckets that lack ops. */
  get names(): string[] {
    const { fences, buckets } = this.#ports
    return fences.all.map(({ bucket }) => buckets.name(bucket))
  }

  isFenced(bucket: string): boolean {
    return this.names.includes(bucket)
  }

  /** Commits go on without the bucket of this append. */
  begin({ bucket }: Pick<StoredAppend, 'bucket'>, unansweredMs: number): void {
    const { fences, buckets, state, diagnostics, verification, atomically, serving, tell, touched } = this.#ports
    atomically(() => {
      // An earlier incarnation may have sent more than the append that is on its way now, and nothing that is not stored.
      const barrier = state.get('decode').counter
      fences.begin({ bucket, since: new Date().toISOString(), barrier, served: serving().checkpoint })
      touched(bucket)
      // It says nothing of the fence.
      state.set('commit', { ...state.get('commit'), named: null })
    })
    verification.lacksAgain(bucket)
    const reason = `it has taken no appends for ${unansweredMs / 1_000} s: commits go on without it, and its readers are refused until it takes them again and is mended`
    diagnostics.add({ code: 'ROCKPOOL_BUCKET_FENCED', key: buckets.name(bucket), reason })
    tell()
    this.#probe(bucket)
  }

  /** After a start. */
  probeAll(): void {
    for (const bucket of this.#ports.fences.silent) this.#probe(bucket)
  }

  /** Buckets that answer again are compared, as soon as nothing else is. */
  compare(): void {
    const { fences, state, verification, served } = this.#ports
    const buckets = fences.answering
    if (buckets.length === 0 || Date.now() < this.#compareAt || !served()) return
    // What is served now may lack what the bucket lacked, for as long as it is served.
    if (!verification.running && state.get('commit').hold === null) verification.compareBuckets(buckets)
  }

  /** They are as row state says they are, or did not answer. What was mended is compared once more, what could not be later. */
  compared(buckets: readonly number[], outcome: Outcome): void {
    const { fences, state, atomically, tell, untold } = this.#ports
    const fenced = buckets.filter((bucket) => fences.answering.includes(bucket))
    if (outcome === 'left') this.#compareAt = Date.now() + PROBE.maxMs
    if (fenced.length === 0 || outcome === 'left' || outcome === 'mended') return
    if (outcome === 'silent') {
      // What is on its way now is forgotten when this incarnation ends.
      atomically(() => fences.silenced(fenced, state.get('decode').counter))
      for (const bucket of fenced) this.#probe(bucket)
      return
    }
    // A hold that was begun meanwhile: compared once more behind it.
    if (state.get('commit').hold !== null) return
    atomically(() => {
      fences.end(fenced)
      // Meanwhile they were told of no commit.
      state.set('commit', { ...state.get('commit'), published: null })
    })
    untold()
    tell()
  }

  /** Until it answers. Behind the answer nothing that was sent before has any effect. */
  #probe(bucket: number): void {
    if (this.#probing.has(bucket)) return
    this.#probing.add(bucket)
    const { fences, buckets, atomically, append, answered, failed, deadlineMs } = this.#ports
    const silent = () => (fences.isSilent(bucket) ? fences.of(bucket) : null)
    const ask = async () => {
      const fence = silent()
      if (fence) await append(buckets.name(bucket), probeOf(fence))
      if (fence && fence.barrier !== (silent() ?? fence).barrier) throw new Error('more was sent to it since it was asked')
    }
    untilAnswered(ask, { ...PROBE, deadlineMs, wanted: () => silent() !== null })
      .then(() => {
        this.#probing.delete(bucket)
        if (!silent()) return
        atomically(() => fences.answered(bucket))
        answered()
      })
      .catch(failed)
  }
}
