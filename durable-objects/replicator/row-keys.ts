import type { PgoutputMessage, TableDecoder } from '../../postgres/index.ts'
import type { Batch } from './batch.ts'
import type { FollowedTables } from './followed-tables.ts'
import type { SourceTable } from './intake.ts'

export type ChangeMessage = Extract<PgoutputMessage, { type: 'insert' | 'update' | 'delete' }>

export interface RowKeys {
  /** Of the row as it is now, or of the one that is gone. */
  key: string
  /** Of the row as an update found it; null: the key is the same. */
  before: string | null
}

export function keysOf(decoder: TableDecoder, m: ChangeMessage): RowKeys {
  if (m.type === 'insert') return { key: decoder.key(m.new), before: null }
  const old = m.key ?? m.old
  if (m.type === 'delete') return { key: decoder.key(old ?? []), before: null }
  return { key: decoder.key(m.new, old), before: old ? decoder.key(old) : null }
}

/**
 * Asks at once for what is stored of the rows that messages change. Not of rows without a key: theirs is a hash of all that they hold, which is made
 * when it is needed.
 */
export function loadRows(messages: Iterable<PgoutputMessage>, followed: FollowedTables, batch: () => Batch): void {
  const keys = new Map<SourceTable, string[]>()
  for (const m of messages) {
    if (m.type !== 'insert' && m.type !== 'update' && m.type !== 'delete') continue
    const found = followed.of(m.oid)
    if (!found || found.table.catalog.key.length === 0) continue
    const { key, before } = keysOf(found.decoder, m)
    const list = keys.get(found.table) ?? []
    keys.set(found.table, list)
    list.push(key)
    if (before !== null) list.push(before)
  }
  for (const [table, list] of keys) batch().load(table, list)
}
