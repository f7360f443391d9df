import { isVisible } from './snapshot.ts'
import type { Snapshot } from '../types.ts'

const NONE: ReadonlyMap<string, number> = new Map()

/**
 * The keys that delivered transactions touched, until a snapshot has seen those transactions. A commit can be streamed before it is visible: a
 * row that was read without it is older than the stream, and must not be applied behind it.
 */
export class TouchedKeys {
  readonly #limit: number
  readonly #most: number
  /** Whether keys of a table are wanted; else it is remembered that something of it was touched. */
  readonly #wanted: (table: number) => boolean
  /** xid8 → table → keys with the copies that came or went, or null for "all". */
  readonly #transactions = new Map<bigint, Map<number, Map<string, number> | null>>()
  #current: Map<number, Map<string, number> | null> | null = null
  /** Keys, and transactions, that are remembered. */
  #held = 0
  /** Transactions up to this one may have touched anything. */
  #anything: bigint | null = null

  /**
   * `limit`: keys of one table that one transaction may touch before it is remembered as "all". `most`: keys and transactions together; beyond them those of
   * the largest become "all", and in the end everything does.
   */
  constructor(limit: number, { most = Infinity, wanted = () => true }: { most?: number; wanted?: (table: number) => boolean } = {}) {
    this.#limit = limit
    this.#most = most
    this.#wanted = wanted
  }

  /** Keys remembered. */
  get size(): number {
    let size = 0
    for (const tables of this.#transactions.values()) for (const keys of tables.values()) size += keys?.size ?? 1
    return size
  }

  begin(xid8: bigint): void {
    this.#current = new Map()
    this.#transactions.set(xid8, this.#current)
    this.#held++
    if (this.#held <= this.#most || this.#transactions.size <= this.#most / 2) return
    for (const xid of this.#transactions.keys()) {
      if (xid === xid8) continue
      if (this.#anything === null || xid > this.#anything) this.#anything = xid
      this.#forget(xid)
    }
  }

  /** `copies`: how many rows of this key there are more now; it is counted where equal rows are told apart by their number only. */
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

  #forget(xid: bigint): void {
    const tables = this.#transactions.get(xid)
    if (!tables || !this.#transactions.delete(xid)) return
    this.#held--
    for (const keys of tables.values()) this.#held -= keys?.size ?? 0
    if (tables === this.#current) this.#current = null
  }

  /** What transactions touched in a table that the snapshot does not see. */
  invisible(snapshot: Snapshot, table: number): { keys: ReadonlyMap<string, number>; all: boolean } {
    if (this.#anything !== null && this.#anything >= snapshot.xmin) return { keys: NONE, all: true }
    let result: Map<string, number> | null = null
    for (const [xid, tables] of this.#transactions) {
      if (isVisible(snapshot, xid)) continue
      const keys = tables.get(table)
      if (keys === null) return { keys: NONE, all: true }
      if (!keys) continue
      result ??= new Map()
      for (const [key, copies] of keys) result.set(key, (result.get(key) ?? 0) + copies)
    }
    return { keys: result ?? NONE, all: false }
  }

  /** Snapshots of one primary only grow: what this one sees, every later one will see. */
  forgetVisible(snapshot: Snapshot): void {
    if (this.#anything !== null && this.#anything < snapshot.xmin) this.#anything = null
    for (const xid of this.#transactions.keys()) if (isVisible(snapshot, xid)) this.#forget(xid)
  }
}
