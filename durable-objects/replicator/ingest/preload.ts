import type { Batch } from './batch.ts'
import type { FollowedTable } from './followed-table.ts'

/**
 * Rows whose state is asked for at a time. Of a whole slice it may be more than there is memory, when each is in many
 * buckets.
 */
export const ROWS_AHEAD = 1_000

/** A row that changes. */
export interface Changing {
  table: FollowedTable
  key: string
  /** Of the row as an update found it; null: the key is the same. */
  before: string | null
}

/** Asks at once for what is stored of the rows that change. */
export function loadRows(changes: Iterable<Changing>, batch: () => Batch): void {
  const keys = new Map<FollowedTable, string[]>()
  for (const { table, key, before } of changes) {
    const list = keys.get(table) ?? []
    keys.set(table, list)
    list.push(key)
    if (before !== null) list.push(before)
  }
  for (const [table, list] of keys) batch().load(table, list)
}
