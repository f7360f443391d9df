import type { PgoutputMessage, TableDecoder } from '../../../sources/postgres/index.ts'
import type { Batch } from './batch.ts'
import type { FollowedTables } from './followed-tables.ts'
import type { SourceTable } from './source-table.ts'

/** A message about one row of a table that is followed. */
export interface ChangedRow {
  m: Extract<PgoutputMessage, { type: 'insert' | 'update' | 'delete' }>
  table: SourceTable
  decoder: TableDecoder
  /** Of the row as it is now, or of the one that is gone. */
  key: string
  /** Of the row as an update found it; null: the key is the same. */
  before: string | null
}

/** Null: the message is about something else. */
export function changedRow(m: PgoutputMessage, followed: FollowedTables): ChangedRow | null {
  if (m.type !== 'insert' && m.type !== 'update' && m.type !== 'delete') return null
  const found = followed.of(m.oid)
  if (!found) return null
  const { table, decoder } = found
  if (m.type === 'insert') return { m, table, decoder, key: decoder.key(m.new), before: null }
  const old = m.key ?? m.old
  if (m.type === 'delete') return { m, table, decoder, key: decoder.key(old ?? []), before: null }
  return { m, table, decoder, key: decoder.key(m.new, old), before: old ? decoder.key(old) : null }
}

/** Rows whose state is asked for at a time. Of a whole slice it may be more than there is memory, when each is in many buckets. */
export const ROWS_AHEAD = 1_000

/** Asks at once for what is stored of the rows that change. */
export function loadRows(changes: readonly { row: ChangedRow | null }[], batch: () => Batch): void {
  const keys = new Map<SourceTable, string[]>()
  for (const { row } of changes) {
    if (!row) continue
    const list = keys.get(row.table) ?? []
    keys.set(row.table, list)
    list.push(row.key)
    if (row.before !== null) list.push(row.before)
  }
  for (const [table, list] of keys) batch().load(table, list)
}
