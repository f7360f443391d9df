import { EXPIRY_WARNING_SECONDS, KEEPALIVE_JITTER, KEEPALIVE_SECONDS } from './limits.ts'

export interface KeepalivePorts {
  /** Sends `token_expires_in`. It must not wait for the receiver. */
  tell(seconds: number): void
  /** Called when the token has expired and the client has been notified. */
  expired(): void
}

/**
 * Sends `token_expires_in`, in whole seconds, at intervals, shortly before the token expires, and 0 when it has
 * expired.
 */
export class Keepalive {
  readonly #ports: KeepalivePorts
  readonly #periodic: boolean
  #expires: number
  #timer: ReturnType<typeof setTimeout> | null = null

  /**
   * `expires` is in seconds since 1970. When `periodic` is false, the transport has its own keepalive, and only the
   * expiry is announced.
   */
  constructor(expires: number, ports: KeepalivePorts, periodic = true) {
    this.#expires = expires
    this.#ports = ports
    this.#periodic = periodic
    this.#arm()
  }

  /** Whole seconds until the token expires, or 0 when it has. */
  get left(): number {
    return Math.max(0, Math.ceil((this.#expires * 1_000 - Date.now()) / 1_000))
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
    // A timer takes at most 2^31 - 1 ms; `#tick` checks again.
    const waits = [Math.max(left, 0), LONGEST_MS]
    if (this.#periodic) waits.push(usual)
    if (warning > 0) waits.push(warning)
    this.#timer = setTimeout(() => this.#tick(), Math.min(...waits))
  }

  #tick(): void {
    const { left } = this
    if (this.#periodic || left <= EXPIRY_WARNING_SECONDS) this.#ports.tell(left)
    if (left <= 0) this.#ports.expired()
    else this.#arm()
  }
}

const LONGEST_MS = 24 * 3_600_000
