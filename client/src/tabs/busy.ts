/** Who works for so long without a pause says so, and again each time. */
export const BUSY_MS = 500

/** Tells others that a thread works and answers nobody, from the middle of that work. */
export class BusyWatch {
  readonly #now: () => number
  readonly #tell: () => void
  #free: number
  #told = -Infinity

  constructor(now: () => number, tell: () => void) {
    this.#now = now
    this.#tell = tell
    this.#free = now()
  }

  /** The thread answers at the moment. */
  free(): void {
    this.#free = this.#now()
  }

  /** Called while it works. */
  look(): void {
    const now = this.#now()
    if (now - this.#free < BUSY_MS || now - this.#told < BUSY_MS) return
    this.#told = now
    this.#tell()
  }
}
