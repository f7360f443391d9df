import { RockpoolError } from '../../protocol/errors.ts'
import type { StreamBudget } from '../../tenants/streams.ts'

/**
 * The budget of one stream, which is one invocation. When it is used up, the stream ends cleanly and the client
 * connects again.
 */
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

/** The reason of a stream that ended without an error. */
export const ended = (why: string) => new RockpoolError('PSYNC_S2003', why)
