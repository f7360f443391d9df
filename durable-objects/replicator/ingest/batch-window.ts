/**
 * Transactions a second from which on a window is waited for: below it, hardly two of them come within one of 50 ms,
 * and each would only be late.
 */
const FROM_RATE = 20
/** ms over which the rate is measured, at least. */
const MEASURED_MS = 1_000

/**
 * How long a batch waits for more transactions. Each batch costs a row of the outbox, a commit and a page in every
 * bucket concerned, however few changes it has; whatever comes within the window shares them.
 */
export class BatchWindow {
  readonly #ms: number
  #from: { at: number; transactions: number } | null = null
  #rate = 0

  /** `ms`: the window; 0: there is none. */
  constructor(ms: number) {
    this.#ms = ms
  }

  /** Returns ms to wait at `now`, when `transactions` have come in all. */
  wait(transactions: number, now: number): number {
    if (this.#ms === 0) return 0
    this.#from ??= { at: now, transactions }
    const passed = now - this.#from.at
    if (passed >= MEASURED_MS) {
      this.#rate = ((transactions - this.#from.transactions) * 1_000) / passed
      this.#from = { at: now, transactions }
    }
    return this.#rate >= FROM_RATE ? this.#ms : 0
  }
}
