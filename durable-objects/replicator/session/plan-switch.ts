import { asyncFaultPoint } from '../../shared/fault-points.ts'
import type { Committer } from '../commit/committer.ts'
import type { Deploys } from '../deploy/deploys.ts'

export interface PlanSwitchPorts {
  committer: Pick<Committer, 'switchTo'>
  deploys: Pick<Deploys, 'next' | 'switched'>
  /** Emits the mark after which the plan serves. */
  mark(): Promise<void>
  /** Rejects when the session is over. */
  failure: Promise<never>
}

/**
 * Switches clients to another plan. The switch is a batch of its own, between two transactions: where a mark of its own
 * commits.
 */
export class PlanSwitch {
  readonly #ports: PlanSwitchPorts
  #pending: { plan: string; done: PromiseWithResolvers<void> } | null = null

  constructor(ports: PlanSwitchPorts) {
    this.#ports = ports
  }

  /** Resolves when the plan serves, or when another deploy has taken its place meanwhile. */
  async run(plan: string): Promise<void> {
    const done = Promise.withResolvers<void>()
    this.#pending = { plan, done }
    await asyncFaultPoint('session.switch')
    await this.#ports.mark()
    await Promise.race([done.promise, this.#ports.failure])
  }

  /** The mark has come back through the stream; `flush` stores what came before it. */
  arrived(flush: () => void): void {
    const { committer, deploys } = this.#ports
    const pending = this.#pending
    if (pending === null) return
    flush()
    const { plan } = pending
    if (deploys.next === plan) committer.switchTo(plan, () => deploys.switched(plan))
    this.#pending = null
    pending.done.resolve()
  }
}
