/**
 * How often the clock is looked at, and by how much too late that means that the device slept or the page was frozen.
 */
const LOOK_MS = 5_000
const SLEPT_MS = 15_000

/**
 * Tells when the device may have come back: after sleep, or when somebody says so (`online`, a tab that became
 * visible).
 */
export class Wake {
  readonly #waiting = new Set<() => void>()
  #timer: ReturnType<typeof setInterval> | undefined
  #last = 0

  now(): void {
    for (const woken of [...this.#waiting]) woken()
  }

  on(woken: () => void): () => void {
    if (this.#waiting.size === 0) this.#start()
    this.#waiting.add(woken)
    return () => {
      this.#waiting.delete(woken)
      if (this.#waiting.size === 0) clearInterval(this.#timer)
    }
  }

  /** A signal that is aborted with `signal` or by waking, and the function that lets go of it. */
  signal(signal: AbortSignal): { signal: AbortSignal; done: () => void } {
    const woken = new AbortController()
    const off = this.on(() => woken.abort())
    return { signal: AbortSignal.any([signal, woken.signal]), done: off }
  }

  #start(): void {
    this.#last = Date.now()
    this.#timer = setInterval(() => {
      const gap = Date.now() - this.#last
      this.#last = Date.now()
      if (gap > LOOK_MS + SLEPT_MS) this.now()
    }, LOOK_MS)
    // In Node nobody is kept alive by it.
    if (typeof this.#timer === 'object') this.#timer.unref()
  }
}
