import type { StorageFacts } from '../core/database/status.ts'

/** The browser is asked so often; each answer costs it a walk over the files of the origin. */
const ASK_MS = 60_000
/** Less is no news. */
const NEWS_BYTES = 1 << 20

/** Says how much space the origin uses, and how much it has, as long as the file is open. */
export class SpaceWatch {
  readonly #told: (of: StorageFacts) => void
  readonly #timer: ReturnType<typeof setInterval>
  #last = { used: -Infinity, quota: -Infinity }

  constructor(told: (of: StorageFacts) => void) {
    this.#told = told
    this.#timer = setInterval(() => void this.#ask(), ASK_MS)
    void this.#ask()
  }

  end(): void {
    clearInterval(this.#timer)
  }

  async #ask(): Promise<void> {
    const estimate = await navigator.storage?.estimate?.().catch(() => null)
    if (estimate?.usage === undefined || estimate.quota === undefined) return
    const now = { used: estimate.usage, quota: estimate.quota }
    const moved = Math.max(Math.abs(now.used - this.#last.used), Math.abs(now.quota - this.#last.quota))
    if (moved < NEWS_BYTES) return
    this.#last = now
    this.#told(now)
  }
}
