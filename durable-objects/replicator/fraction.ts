/** Clients are told how far a comparison is when so much more of it is done, and so much time has passed. */
export const FRACTION_STEPS = 100
export const FRACTION_MS = 5_000

/** When clients are told how far a comparison is. In memory only: whoever begins anew tells it once more. */
export class Fraction {
  readonly #now: () => number
  #told: number | null = null
  #looked = -Infinity

  constructor(now: () => number = Date.now) {
    this.#now = now
  }

  /** `of` counts tables: it is not asked more often than needed. Null: nothing is compared; the end is told by the gap that it is. */
  isDue(of: (() => number) | null): boolean {
    if (of === null) {
      this.#told = null
      this.#looked = -Infinity
      return false
    }
    if (this.#now() - this.#looked < FRACTION_MS) return false
    this.#looked = this.#now()
    const fraction = rounded(of())
    if (fraction === this.#told) return false
    this.#told = fraction
    return true
  }
}

/** As it is told. All of it is done when it is, and not before. */
export const rounded = (fraction: number): number => Math.floor(fraction * FRACTION_STEPS) / FRACTION_STEPS
