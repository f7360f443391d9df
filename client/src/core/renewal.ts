import { backoff } from './problem.ts'
import { sleep } from '../../../protocol/sleep.ts'

/** The server warns 20 s before a token expires; some only say "soon". */
const RENEW_SECONDS = 30

export interface RenewalOptions {
  /** Asks the application for a token. */
  token(): Promise<string>
  /** Gives it to the server. */
  send(token: string): void
  failed(error: unknown): void
  renewed(): void
  /** The connection is over. */
  signal: AbortSignal
}

/**
 * A connection outlives its token: when the server says that it is about to expire, another one is asked for until
 * there is one.
 */
export class Renewal {
  readonly #options: RenewalOptions
  #running = false

  constructor(options: RenewalOptions) {
    this.#options = options
  }

  /** The token expires in so many seconds. */
  expires(seconds: number): void {
    if (seconds > RENEW_SECONDS || this.#running) return
    this.#running = true
    void this.#renew().finally(() => (this.#running = false))
  }

  async #renew(): Promise<void> {
    const { token, send, failed, renewed, signal } = this.#options
    for (let attempt = 1; !signal.aborted; attempt++) {
      try {
        const fresh = await token()
        if (signal.aborted) return
        send(fresh)
        renewed()
        return
      } catch (error) {
        if (signal.aborted) return
        failed(error)
        await sleep(backoff(attempt), signal)
      }
    }
  }
}
