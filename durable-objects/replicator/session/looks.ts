/**
 * Looks at the catalog that the stream asks for, because it describes a table otherwise than expected. Nothing of what follows that description is taken
 * in until a look that began behind it has found the catalog as it was; when it has not, the next session takes it in, and knows what to compare.
 */
export class Looks {
  #asked = 0
  #done = 0
  #wake: () => void = () => {}

  /** Something waits for a look. */
  get pending(): boolean {
    return this.#asked > this.#done
  }

  ask(): void {
    this.#asked++
    this.#wake()
  }

  /** Resolves when something waits for a look. */
  asked(): Promise<void> {
    return this.pending ? Promise.resolve() : new Promise((resolve) => (this.#wake = resolve))
  }

  /** A look begins. To be called when it has found nothing new. */
  begin(): () => void {
    const upTo = this.#asked
    return () => (this.#done = Math.max(this.#done, upTo))
  }
}
