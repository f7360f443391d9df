/** Maps keys to streams. Most keys have one stream; a Set for each would take most of a relay's memory. */
export class StreamIndex<S> {
  readonly #streams = new Map<string, One<S> | Set<S>>()

  get size(): number {
    return this.#streams.size
  }

  has(key: string): boolean {
    return this.#streams.has(key)
  }

  get(key: string): Iterable<S> {
    return this.#streams.get(key) ?? []
  }

  add(key: string, stream: S): void {
    const known = this.#streams.get(key)
    if (known === undefined) this.#streams.set(key, [stream])
    else if (known instanceof Set) known.add(stream)
    else if (known[0] !== stream) this.#streams.set(key, new Set([known[0], stream]))
  }

  /** Returns true when no stream has the key any more. */
  delete(key: string, stream: S): boolean {
    const known = this.#streams.get(key)
    if (known === undefined) return false
    if (known instanceof Set) known.delete(stream)
    else if (known[0] !== stream) return false
    if (known instanceof Set && known.size > 0) return false
    this.#streams.delete(key)
    return true
  }
}

type One<S> = readonly [S]
