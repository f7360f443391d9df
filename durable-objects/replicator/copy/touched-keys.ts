import type { TxId, TxView } from '../../../sources/source.ts'

const NONE: ReadonlyMap<string, number> = new Map()

/**
 * Remembers the keys that delivered transactions touched, until a read has seen those transactions. A commit can be
 * streamed before it is visible. A row that was read without it is older than the stream, and must not be applied after
 * it.
 */
export class TouchedKeys {
  readonly #limit: number
  readonly #most: number
  /** Returns whether keys of a table are remembered. For others it is only remembered that something was touched. */
  readonly #wanted: (table: number) => boolean
  /** transaction → table → keys with the copies that came or went, or null for "all". */
  readonly #transactions = new Map<TxId, Map<number, Map<string, number> | null>>()
  #current: Map<number, Map<string, number> | null> | null = null
  /** The number of keys and transactions that are remembered. */
  #held = 0
  /** Transactions up to this one may have touched anything. */
  #anything: TxId | null = null

  /**
   * A transaction that touches more than `limit` keys of one table is remembered as "all". `most` limits keys and
   * transactions together: beyond it the keys of the largest table become "all", and in the end everything does.
   */
  constructor(
    limit: number,
    { most = Infinity, wanted = () => true }: { most?: number; wanted?: (table: number) => boolean } = {},
  ) {
    this.#limit = limit
    this.#most = most
    this.#wanted = wanted
  }

  /** The number of keys that are remembered. */
  get size(): number {
    let size = 0
    for (const tables of this.#transactions.values()) for (const keys of tables.values()) size += keys?.size ?? 1
    return size
  }

  begin(begun: TxId): void {
    this.#current = new Map()
    this.#transactions.set(begun, this.#current)
    this.#held++
    if (this.#held <= this.#most || this.#transactions.size <= this.#most / 2) return
    for (const id of this.#transactions.keys()) {
      if (id === begun) continue
      if (this.#anything === null || id > this.#anything) this.#anything = id
      this.#forget(id)
    }
  }

  /** `copies` is how many more rows of this key there are now. It matters in tables whose equal rows are counted. */
  touch(table: number, key: string, copies: number): void {
    const tables = this.#current
    if (!tables) return
    const keys = tables.get(table)
    if (keys === null) return
    if ((keys?.size ?? 0) >= this.#limit || !this.#wanted(table)) return this.touchAll(table)
    const known = keys?.get(key)
    if (known === undefined) this.#held++
    if (keys) keys.set(key, (known ?? 0) + copies)
    else tables.set(table, new Map([[key, copies]]))
    if (this.#held > this.#most) this.#forgetLargest()
  }

  touchAll(table: number): void {
    this.#held -= this.#current?.get(table)?.size ?? 0
    this.#current?.set(table, null)
  }

  /** The table with the most keys becomes "all" in each transaction. */
  #forgetLargest(): void {
    const sizes = new Map<number, number>()
    for (const tables of this.#transactions.values()) {
      for (const [table, keys] of tables) sizes.set(table, (sizes.get(table) ?? 0) + (keys?.size ?? 0))
    }
    const [largest] = [...sizes].reduce((a, b) => (b[1] > a[1] ? b : a), [0, 0])
    for (const tables of this.#transactions.values()) {
      const keys = tables.get(largest)
      if (!keys) continue
      this.#held -= keys.size
      tables.set(largest, null)
    }
  }

  #forget(id: TxId): void {
    const tables = this.#transactions.get(id)
    if (!tables || !this.#transactions.delete(id)) return
    this.#held--
    for (const keys of tables.values()) this.#held -= keys?.size ?? 0
    if (tables === this.#current) this.#current = null
  }

  /** Returns what was touched in a table by transactions that a read does not see. */
  invisible(view: TxView, table: number): { keys: ReadonlyMap<string, number>; all: boolean } {
    if (this.#anything !== null && !view.seesAllUpTo(this.#anything)) return { keys: NONE, all: true }
    let result: Map<string, number> | null = null
    for (const [id, tables] of this.#transactions) {
      if (view.sees(id)) continue
      const keys = tables.get(table)
      if (keys === null) return { keys: NONE, all: true }
      if (!keys) continue
      result ??= new Map()
      for (const [key, copies] of keys) result.set(key, (result.get(key) ?? 0) + copies)
    }
    return { keys: result ?? NONE, all: false }
  }

  /** Forgets transactions that a read sees: every later read sees them too. */
  forgetVisible(view: TxView): void {
    if (this.#anything !== null && view.seesAllUpTo(this.#anything)) this.#anything = null
    for (const id of this.#transactions.keys()) if (view.sees(id)) this.#forget(id)
  }
}
