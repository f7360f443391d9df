/** Limits how many may hold a slot at a time. Others wait in the order of their calls. */
export class Slots {
  readonly #waiting: (() => void)[] = []
  #taken = 0
  #limit: number

  constructor(limit: number) {
    this.#limit = limit
  }

  get limit(): number {
    return this.#limit
  }

  set limit(limit: number) {
    this.#limit = limit
    this.#fill()
  }

  /** Waits for a slot. `leave` must follow. */
  async take(): Promise<void> {
    const turn = new Promise<void>((resolve) => this.#waiting.push(resolve))
    this.#fill()
    await turn
  }

  leave(): void {
    this.#taken--
    this.#fill()
  }

  #fill(): void {
    while (this.#taken < this.#limit) {
      const next = this.#waiting.shift()
      if (!next) return
      this.#taken++
      next()
    }
  }
}
