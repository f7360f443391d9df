import { CREDIT_STEP_BYTES, MAX_UNTAKEN_BYTES } from './limits.ts'

/**
 * How much may be sent to a native client, in bytes: the credit that it gives, capped so that at most
 * `MAX_UNTAKEN_BYTES` can be in flight. A line may exceed what is left, so that a client with a small window gets its
 * lines too.
 */
export class Credit {
  #left = 0
  /** The highest credit so far. The difference to what is left is in flight or with the client. */
  #window = 0

  /** Bytes that are in flight, or received but not given back yet. */
  get outstanding(): number {
    return this.#window - this.#left
  }

  get hasRoom(): boolean {
    return this.#left > 0 && this.outstanding <= CREDIT_STEP_BYTES
  }

  add(bytes: number): void {
    this.#left = Math.min(this.#left + bytes, MAX_UNTAKEN_BYTES)
    this.#window = Math.max(this.#window, this.#left)
  }

  /**
   * Any line may be sent when nearly all credit is there: the client may have received up to one step more than it has
   * reported.
   */
  allows(bytes: number): boolean {
    return this.#left > 0 && (this.outstanding <= CREDIT_STEP_BYTES || this.outstanding + bytes <= MAX_UNTAKEN_BYTES)
  }

  take(bytes: number): void {
    this.#left -= bytes
  }
}
