/** A map with at most `most` entries. A new key removes the entry whose key was added first. */
export class BoundedMap<K, V> {
  readonly #most: number
  readonly #entries = new Map<K, V>()

  constructor(most: number) {
    this.#most = most
  }

  get size(): number {
    return this.#entries.size
  }

  has(key: K): boolean {
    return this.#entries.has(key)
  }

  get(key: K): V | undefined {
    return this.#entries.get(key)
  }

  /** Sets the value of a key. A key that is present keeps its age. */
  set(key: K, value: V): void {
    if (!this.#entries.has(key)) this.#makeRoom()
    this.#entries.set(key, value)
  }

  delete(key: K): boolean {
    return this.#entries.delete(key)
  }

  #makeRoom(): void {
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size < this.#most) return
      this.#entries.delete(oldest)
    }
  }
}
