import type { Call, HealthState, SourceConnection, SourceFacts, SourceHealth } from '../../../sources/source.ts'
import type { Store } from '../store/store.ts'

/** Measures what the source keeps for us, and has it dropped when that is too much. */
export class HealthWatch {
  readonly #store: Pick<Store, 'state' | 'diagnostics'>
  #measured: HealthState | null

  constructor(store: Pick<Store, 'state' | 'diagnostics'>) {
    this.#store = store
    this.#measured = store.state.get('slot')
  }

  /**
   * Returns what the source keeps, or null when it keeps nothing. With `keep` the measure is stored even when its level
   * has not changed.
   */
  async measure(source: Pick<SourceConnection, 'health'>, call: Call, keep = false): Promise<SourceHealth | null> {
    const { state, diagnostics } = this.#store
    const before = this.#measured
    const health = await source.health(before, call)
    this.#measured = health?.state ?? null
    if (keep || before?.level !== health?.state.level) state.set('slot', this.#measured)
    for (const problem of health?.problems ?? []) diagnostics.add(problem)
    return health
  }

  /** Returns whether the source kept more than the policy allows. Then it has dropped that. */
  async forgetOverKept(source: Pick<SourceConnection, 'health' | 'forget'>, call: () => Call): Promise<boolean> {
    const health = await this.measure(source, call(), true)
    if (!health?.drop) return false
    await source.forget(call())
    this.#store.diagnostics.add(health.drop)
    return true
  }

  /**
   * Returns the last measure, or that of an examination when there is one. Examinations are not kept: sessions decide
   * by their own measures.
   */
  status(found: SourceFacts | null): HealthState | null {
    return found ? (found.health(this.#measured)?.state ?? null) : this.#measured
  }
}
