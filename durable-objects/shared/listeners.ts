/** Those who want to hear of one kind of event, in the order in which they came. */
export class Listeners<T extends unknown[] = []> {
  readonly #all = new Set<(...event: T) => void>()

  /** Returns what ends the subscription. */
  add(listener: (...event: T) => void): () => void {
    this.#all.add(listener)
    return () => void this.#all.delete(listener)
  }

  tell(...event: T): void {
    for (const listener of this.#all) listener(...event)
  }
}
