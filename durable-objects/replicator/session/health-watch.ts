import type { Call, HealthState, SourceConnection, SourceFacts, SourceHealth } from '../../../sources/source.ts'
import type { Store } from '../store/store.ts'

/** What the source keeps for us, as it was measured last, and what is done about it. */
export class HealthWatch {
  readonly #store: Pick<Store, 'state' | 'diagnostics'>
  #measured: HealthState | null

  constructor(store: Pick<Store, 'state' | 'diagnostics'>) {
    this.#store = store
    this.#measured = store.state.get('slot')
  }

  /** Looks at what the source keeps; null: nothing. `keep`: the measure is stored, also when the level is what it was. */
  async measure(source: Pick<SourceConnection, 'health'>, call: Call, keep = false): Promise<SourceHealth | null> {
    const { state, diagnostics } = this.#store
    const before = this.#measured
    const health = await source.health(before, call)
    this.#measured = health?.state ?? null
    if (keep || before?.level !== health?.state.level) state.set('slot', this.#measured)
    for (const problem of health?.problems ?? []) diagnostics.add(problem)
    return health
  }

  /** True: the source kept more than the policy allows, and has forgotten us. */
  async forgetOverKept(source: Pick<SourceConnection, 'health' | 'forget'>, call: () => Call): Promise<boolean> {
    const health = await this.measure(source, call(), true)
    if (!health?.drop) return false
    await source.forget(call())
    this.#store.diagnostics.add(health.drop)
    return true
  }

  /** `found`: what was looked at just now, in the place of what was measured last. Nothing is kept of it: sessions judge by their own measures. */
  status(found: SourceFacts | null): HealthState | null {
    return found ? (found.health(this.#measured)?.state ?? null) : this.#measured
  }
}
