/** The listeners of one kind of event, which are called in the order in which they subscribed. */
export class Listeners<T extends unknown[] = []> {
  readonly #all = new Set<(...event: T) => void>()

  /** Returns a function that ends the subscription. */
  add(listener: (...event: T) => void): () => void {
    this.#all.add(listener)
    return () => void this.#all.delete(listener)
  }

  tell(...event: T): void {
    for (const listener of this.#all) listener(...event)
  }
}
