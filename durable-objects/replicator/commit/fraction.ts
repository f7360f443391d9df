import type { Clock } from '../../shared/clock.ts'

/** The steps in which clients hear of the progress of a comparison, and the least time between two. */
export const FRACTION_STEPS = 100
export const FRACTION_MS = 5_000

/**
 * Decides when clients hear of the progress of a comparison. Only in memory: after a restart it is announced once more.
 */
export class Fraction {
  readonly #of: () => number
  readonly #announce: () => void
  readonly #clock: Clock
  #announced: number | null = null
  #looked = -Infinity
  #cancel: (() => void) | undefined

  /** `of` counts tables, so it is only called when the result may be announced. */
  constructor(of: () => number, announce: () => void, clock: Clock) {
    this.#of = of
    this.#announce = announce
    this.#clock = clock
  }

  /**
   * Called after possible progress, which is announced now or in a moment, also when nothing follows. With `compares`
   * false the comparison is over, which a gap announces.
   */
  moved(compares: boolean): void {
    if (!compares) {
      this.#stop()
      this.#announced = null
      this.#looked = -Infinity
      return
    }
    const wait = this.#looked + FRACTION_MS - this.#clock.now()
    if (wait <= 0) this.#look()
    else this.#cancel ??= this.#clock.after(wait, () => this.#look())
  }

  #look(): void {
    this.#stop()
    this.#looked = this.#clock.now()
    const fraction = rounded(this.#of())
    if (fraction === this.#announced) return
    this.#announced = fraction
    this.#announce()
  }

  #stop(): void {
    this.#cancel?.()
    this.#cancel = undefined
  }
}

/** Rounds a fraction down for announcements, so that it is 1 only when everything is done. */
export const rounded = (fraction: number): number => Math.floor(fraction * FRACTION_STEPS) / FRACTION_STEPS
