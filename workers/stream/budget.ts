import { RockpoolError } from '../../protocol/errors.ts'
import type { StreamBudget } from '../../tenants/streams.ts'

/** One stream is one invocation with one budget; when it is used up the stream ends cleanly, and the client connects again. */
export class Budget {
  #calls = 0
  #bytes = 0
  readonly #limits: StreamBudget
  readonly #spent: () => void

  constructor(limits: StreamBudget, spent: () => void) {
    this.#limits = limits
    this.#spent = spent
  }

  call(): void {
    if (++this.#calls === this.#limits.calls) this.#spent()
  }

  bytes(count: number): void {
    const before = this.#bytes
    this.#bytes += count
    if (before < this.#limits.bytes && this.#bytes >= this.#limits.bytes) this.#spent()
  }
}

/** Why a stream ended that has nothing to complain about. */
export const ended = (why: string) => new RockpoolError('PSYNC_S2003', why)
