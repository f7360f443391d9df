import type { Clock } from '../../shared/clock.ts'

/** Clients are told how far a comparison is when so much more of it is done, and so much time has passed. */
export const FRACTION_STEPS = 100
export const FRACTION_MS = 5_000

/** When clients are told how far a comparison is. In memory only: whoever begins anew tells it once more. */
export class Fraction {
  readonly #of: () => number
  readonly #tell: () => void
  readonly #clock: Clock
  #told: number | null = null
  #looked = -Infinity
  #cancel: (() => void) | undefined

  /** `of` counts tables: it is asked when it may be told. */
  constructor(of: () => number, tell: () => void, clock: Clock) {
    this.#of = of
    this.#tell = tell
    this.#clock = clock
  }

  /** Something may have moved. What has is told, now or in a moment, also when nothing moves any more. `compares` false: the end is told by the gap that it is. */
  moved(compares: boolean): void {
    if (!compares) {
      this.#stop()
      this.#told = null
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
    if (fraction === this.#told) return
    this.#told = fraction
    this.#tell()
  }

  #stop(): void {
    this.#cancel?.()
    this.#cancel = undefined
  }
}

/** As it is told. All of it is done when it is, and not before. */
export const rounded = (fraction: number): number => Math.floor(fraction * FRACTION_STEPS) / FRACTION_STEPS
