import { RockpoolError } from '../../protocol/errors.ts'
import { BYTE_BUDGET, SUBREQUEST_BUDGET } from './limits.ts'

/** One stream is one invocation with one budget; when it is used up the stream ends cleanly, and the client connects again. */
export class Budget {
  #calls = 0
  #bytes = 0
  readonly #spent: () => void

  constructor(spent: () => void) {
    this.#spent = spent
  }

  call(): void {
    if (++this.#calls === SUBREQUEST_BUDGET) this.#spent()
  }

  bytes(count: number): void {
    const before = this.#bytes
    this.#bytes += count
    if (before < BYTE_BUDGET && this.#bytes >= BYTE_BUDGET) this.#spent()
  }
}

/** Why a stream ended that has nothing to complain about. */
export const ended = (why: string) => new RockpoolError('PSYNC_S2003', why)
