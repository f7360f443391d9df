/** How often the clock is looked at, and by how much too late that means that the device slept or the page was frozen. */
const LOOK_MS = 5_000
const SLEPT_MS = 15_000

/** Tells when the device may have come back: after sleep, or when somebody says so (`online`, a tab that became visible). */
export class Wake {
  readonly #waiting = new Set<() => void>()
  readonly #timer: ReturnType<typeof setInterval>
  #last = Date.now()

  constructor() {
    this.#timer = setInterval(() => {
      const gap = Date.now() - this.#last
      this.#last = Date.now()
      if (gap > LOOK_MS + SLEPT_MS) this.now()
    }, LOOK_MS)
    // In Node nobody is kept alive by it.
    if (typeof this.#timer === 'object') this.#timer.unref()
  }

  now(): void {
    for (const woken of [...this.#waiting]) woken()
  }

  on(woken: () => void): () => void {
    this.#waiting.add(woken)
    return () => void this.#waiting.delete(woken)
  }

  /** A signal that is aborted with `signal` or by waking, and the function that lets go of it. */
  signal(signal: AbortSignal): { signal: AbortSignal; done: () => void } {
    const woken = new AbortController()
    const off = this.on(() => woken.abort())
    return { signal: AbortSignal.any([signal, woken.signal]), done: off }
  }

  end(): void {
    clearInterval(this.#timer)
    this.#waiting.clear()
  }
}
