/** Which streams have a key. Most keys have one stream, and a set for each of them would be most of what a relay holds. */
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

  /** True: nobody has the key any more. */
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
