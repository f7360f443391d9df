import { isVisible } from './snapshot.ts'
import type { Snapshot } from './types.ts'

const NONE: ReadonlyMap<string, number> = new Map()

/**
 * The keys that delivered transactions touched, until a snapshot has seen those transactions. A commit can be streamed before it is visible: a
 * row that was read without it is older than the stream, and must not be applied behind it.
 */
export class TouchedKeys {
  readonly #limit: number
  /** xid8 → table → keys with the copies that came or went, or null for "all". */
  readonly #transactions = new Map<bigint, Map<number, Map<string, number> | null>>()
  #current: Map<number, Map<string, number> | null> | null = null

  /** `limit`: keys of one table that one transaction may touch before it is remembered as "all". */
  constructor(limit: number) {
    this.#limit = limit
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
  }

  /** `copies`: how many rows of this key there are more now; it is counted where equal rows are told apart by their number only. */
  touch(table: number, key: string, copies: number): void {
    const tables = this.#current
    if (!tables) return
    const keys = tables.get(table)
    if (keys === null) return
    if (keys === undefined) tables.set(table, new Map([[key, copies]]))
    else if (keys.size < this.#limit) keys.set(key, (keys.get(key) ?? 0) + copies)
    else tables.set(table, null)
  }

  touchAll(table: number): void {
    this.#current?.set(table, null)
  }

  /** What transactions touched in a table that the snapshot does not see. */
  invisible(snapshot: Snapshot, table: number): { keys: ReadonlyMap<string, number>; all: boolean } {
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
    for (const xid of this.#transactions.keys()) if (isVisible(snapshot, xid)) this.#transactions.delete(xid)
  }
}
