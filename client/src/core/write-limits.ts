import { ProblemError } from './problem.ts'

/** Ends a local transaction that does nothing for too long, or is not over in time: everything else waits for it. */
export class WriteLimits {
  readonly #late = Promise.withResolvers<never>()
  readonly #pauseMs: number
  readonly #total: ReturnType<typeof setTimeout>
  #pause: ReturnType<typeof setTimeout>
  #isOver = false

  constructor({ pauseMs, totalMs }: { pauseMs: number; totalMs: number }) {
    this.#pauseMs = pauseMs
    this.#total = this.#after(totalMs, 'took too long')
    this.#pause = this.#after(pauseMs, 'paused for too long')
    // Nobody may be left to hear of it.
    this.#late.promise.catch(() => {})
  }

  /** Rejects with `write_limit`. */
  get over(): Promise<never> {
    return this.#late.promise
  }

  /**
   * Runs one statement of the transaction; the clock of the pause starts again behind it. Throws `storage` when the
   * transaction has ended.
   */
  async statement<R>(work: () => R): Promise<R> {
    if (this.#isOver) throw new ProblemError('storage', 'this transaction is over')
    try {
      return work()
    } finally {
      clearTimeout(this.#pause)
      this.#pause = this.#after(this.#pauseMs, 'paused for too long')
    }
  }

  /** The transaction ends: no statement of it runs any more. */
  end(): void {
    this.#isOver = true
    clearTimeout(this.#pause)
    clearTimeout(this.#total)
  }

  #after(milliseconds: number, what: string): ReturnType<typeof setTimeout> {
    return setTimeout(
      () => this.#late.reject(new ProblemError('write_limit', `a transaction ${what} and was rolled back`)),
      milliseconds,
    )
  }
}
