import { CREDIT_STEP_BYTES, MAX_UNTAKEN_BYTES } from './limits.ts'

/**
 * How much may be sent to a native client, in bytes: what it gives, and never so much that more than `MAX_UNTAKEN_BYTES` could be on its way. Credit
 * beyond that is not counted. A line may exceed what is left, so that a client with a small window gets its lines too.
 */
export class Credit {
  #left = 0
  /** The most that was ever left: everything below it is with the client, or on its way. */
  #window = 0

  /** On its way, or taken and not given back yet. */
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

  /** Within a step of everything, any line may go: of that much the client may have more than it has told. */
  allows(bytes: number): boolean {
    return this.#left > 0 && (this.outstanding <= CREDIT_STEP_BYTES || this.outstanding + bytes <= MAX_UNTAKEN_BYTES)
  }

  take(bytes: number): void {
    this.#left -= bytes
  }
}
