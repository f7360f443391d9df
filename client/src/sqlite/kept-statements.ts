/** Of many prepared statements the oldest go. */
const KEPT_STATEMENTS = 300

interface Kept<S> {
  statement: S
  finalize?(): void
}

/** Statements by their text. */
export class KeptStatements<S> {
  readonly #kept = new Map<string, Kept<S>>()

  get(sql: string, prepare: () => Kept<S>): S {
    const known = this.#kept.get(sql)
    if (known) return known.statement
    const kept = prepare()
    for (const [oldest, { finalize }] of this.#kept) {
      if (this.#kept.size < KEPT_STATEMENTS) break
      finalize?.()
      this.#kept.delete(oldest)
    }
    this.#kept.set(sql, kept)
    return kept.statement
  }

  clear(): void {
    for (const { finalize } of this.#kept.values()) finalize?.()
    this.#kept.clear()
  }
}
