import { EXPIRY_WARNING_SECONDS, KEEPALIVE_JITTER, KEEPALIVE_SECONDS } from './limits.ts'

export interface KeepaliveActions {
  /** Sends `token_expires_in`; must not wait for the receiver. */
  tell(seconds: number): void
  /** The token has expired and the client has been told. */
  expired(): void
}

/** `token_expires_in` now and then, shortly before the token expires, and 0 when it has. */
export class Keepalive {
  readonly #actions: KeepaliveActions
  #expires: number
  #timer: ReturnType<typeof setTimeout> | null = null

  /** `expires`: seconds since 1970. */
  constructor(expires: number, actions: KeepaliveActions) {
    this.#expires = expires
    this.#actions = actions
    this.#arm()
  }

  renew(expires: number): void {
    this.#expires = expires
    this.#arm()
  }

  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }

  #arm(): void {
    this.stop()
    const left = this.#expires * 1_000 - Date.now()
    const usual = KEEPALIVE_SECONDS * 1_000 * (1 + KEEPALIVE_JITTER * (2 * Math.random() - 1))
    const warning = left - EXPIRY_WARNING_SECONDS * 1_000
    const wait = Math.min(usual, warning > 0 ? warning : usual, Math.max(left, 0))
    this.#timer = setTimeout(() => this.#tick(), wait)
  }

  #tick(): void {
    const left = Math.ceil((this.#expires * 1_000 - Date.now()) / 1_000)
    this.#actions.tell(Math.max(0, left))
    if (left <= 0) this.#actions.expired()
    else this.#arm()
  }
}
