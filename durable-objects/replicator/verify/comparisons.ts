import { RockpoolError } from '../../../protocol/errors.ts'
import type { Difference } from '../../../protocol/verification.ts'
import { Listeners } from '../../shared/listeners.ts'
import type { Diagnostics } from '../store/diagnostics.ts'
import type { Differences } from '../store/differences.ts'
import type { StateStore } from '../store/storage.ts'
import { foundIn, newVerifying, type Verifying } from './progress.ts'

/** What came of comparing some buckets. `left`: not everything that differs was repaired. */
export type Outcome = 'equal' | 'mended' | 'left' | 'silent'

/** A comparison of some buckets, by number, and of no table. */
type OfBuckets = Verifying & { only: readonly number[] }

export interface ComparisonsPorts {
  state: Pick<StateStore, 'get' | 'set'>
  differences: Pick<Differences, 'add' | 'clear'>
  diagnostics: Pick<Diagnostics, 'add'>
}

/**
 * The comparisons that may be under way, how far each is and what it has found. One was requested by an operator, and
 * is stored. The other one is of some buckets that answer again, and comes first; it is in memory alone, because
 * the part that needs it requests it again after a crash.
 */
export class Comparisons {
  readonly #ports: ComparisonsPorts
  #ofBuckets: OfBuckets | null = null
  readonly #compared = new Listeners<[buckets: readonly number[], outcome: Outcome]>()

  constructor(ports: ComparisonsPorts) {
    this.#ports = ports
    const { state, differences } = ports
    // An earlier version stored the one of some buckets in the place of the operator's.
    if (state.get('verify')?.only) {
      differences.clear()
      state.set('verify', null)
    }
  }

  /** The last one that an operator has requested; null when there was none. */
  get requested(): Verifying | null {
    return this.#ports.state.get('verify')
  }

  /** The one that is under way, or was last. */
  get current(): Verifying | null {
    return this.#ofBuckets ?? this.requested
  }

  /** The buckets that alone are compared; null when all are. */
  get only(): readonly number[] | null {
    return this.#ofBuckets?.only ?? null
  }

  get running(): boolean {
    return this.current?.state === 'running'
  }

  /** Tables are being read. */
  get readsTables(): boolean {
    return this.running && this.current?.phase === 'source'
  }

  /** Some buckets were compared. */
  onCompared(listener: (buckets: readonly number[], outcome: Outcome) => void): () => void {
    return this.#compared.add(listener)
  }

  /**
   * Begins one for an operator. Returns `running` when the same one is under way. Throws ROCKPOOL_VERIFY when another
   * one is.
   */
  request(repair: boolean, by?: string): 'begun' | 'running' {
    const { state, differences } = this.#ports
    const before = this.requested
    if (before?.state === 'running') {
      if (before.repair === repair) return 'running'
      const which = before.repair ? 'with repair' : 'without repair'
      throw new RockpoolError('ROCKPOOL_VERIFY', `a verification ${which} is under way: wait for it, or cancel it`)
    }
    differences.clear()
    // The one of some buckets begins again when this one is done.
    this.#ofBuckets = null
    state.set('verify', newVerifying((before?.number ?? 0) + 1, repair, now(), by))
    return 'begun'
  }

  /** Begins one of some buckets, which repairs them. */
  requestBuckets(only: readonly number[]): void {
    this.#ofBuckets = { ...newVerifying(0, true, now()), phase: 'buckets', only }
  }

  /** Ends the one of some buckets, of which nobody is notified. */
  dropBuckets(): void {
    this.#ofBuckets = null
  }

  update(change: (now: Verifying) => Partial<Verifying>): void {
    const { current } = this
    if (current?.state !== 'running') return
    if (this.#ofBuckets) this.#ofBuckets = { ...this.#ofBuckets, ...change(current) }
    else this.#ports.state.set('verify', { ...current, ...change(current) })
  }

  report(difference: Difference): void {
    const { code, mended } = difference
    // The same difference may be found twice, and counts once.
    if (this.#ofBuckets === null && !this.#ports.differences.add(difference)) return
    this.update(({ counts, mended: before }) => ({
      counts: { ...counts, [code]: (counts[code] ?? 0) + 1 },
      mended: before + (mended ? 1 : 0),
    }))
  }

  end(state: 'done' | 'failed' | 'cancelled', error: Verifying['error'] = null): void {
    this.update(() => ({ state, error, ended: now(), copy: null }))
    const { current, only } = this
    this.#ofBuckets = null
    if (!current) return
    if (only) this.#compared.tell(only, outcomeOf(current))
    const found = foundIn(current)
    if (found === 0) return
    const what = only ? `a comparison of ${only.length} fenced buckets` : 'a verification'
    const counts = Object.entries(current.counts).map(([code, n]) => `${n} ${code}`)
    const reason = `${what} found ${found} differences (${counts.join(', ')}); ${current.mended} of them are mended`
    this.#ports.diagnostics.add({ code: 'ROCKPOOL_DIFFERENCES', reason })
  }
}

const now = (): string => new Date().toISOString()

function outcomeOf(ended: Verifying): Outcome {
  if (ended.state === 'failed') return 'silent'
  if (ended.mended < foundIn(ended)) return 'left'
  return ended.mended > 0 ? 'mended' : 'equal'
}
