import { EXPIRY_WARNING_SECONDS, KEEPALIVE_JITTER, KEEPALIVE_SECONDS } from './limits.ts'

export interface KeepalivePorts {
  /** Sends `token_expires_in`; must not wait for the receiver. */
  tell(seconds: number): void
  /** The token has expired and the client has been told. */
  expired(): void
}

/** `token_expires_in` now and then, shortly before the token expires, and 0 when it has. Whole seconds. */
export class Keepalive {
  readonly #ports: KeepalivePorts
  readonly #periodic: boolean
  #expires: number
  #timer: ReturnType<typeof setTimeout> | null = null

  /** `expires`: seconds since 1970. `periodic` false: the transport has signs of life of its own, so only the expiry is told. */
  constructor(expires: number, ports: KeepalivePorts, periodic = true) {
    this.#expires = expires
    this.#ports = ports
    this.#periodic = periodic
    this.#arm()
  }

  /** Whole seconds until the token expires, 0 when it has. */
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
    // A timer takes 2^31 - 1 ms; `#tick` looks again.
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
