/**
 * Checks of the catalog that the stream requests, because it describes a table differently from the catalog that was
 * read. Nothing after that description is taken in until a check that began after it has found the catalog unchanged.
 * When the catalog has changed, the session ends, and the next one knows what to compare.
 */
export class CatalogChecks {
  #requested = 0
  #done = 0
  #wake: () => void = () => {}

  /** The stream waits for a check. */
  get pending(): boolean {
    return this.#requested > this.#done
  }

  request(): void {
    this.#requested++
    this.#wake()
  }

  /** Resolves when the stream waits for a check. */
  requested(): Promise<void> {
    return this.pending ? Promise.resolve() : new Promise((resolve) => (this.#wake = resolve))
  }

  /** A check begins. Returns what to call when it has found nothing new. */
  begin(): () => void {
    const upTo = this.#requested
    return () => (this.#done = Math.max(this.#done, upTo))
  }
}
