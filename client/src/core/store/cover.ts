import { identifier, type Sqlite } from '../../sqlite/sqlite.ts'
import { DamagedTable } from './apply.ts'
import { hash } from './hash.ts'
import { atTable, rowJson, type StoredTable } from './tables.ts'

/**
 * Covers a row as the triggers do, for ops that come into the outbox without a statement: those of a failed write that
 * is sent again. Marks it to be derived. `table` undefined: the schema lacks it, so there is no row to change, and the
 * server has none until it does.
 */
export function coverRow(
  db: Sqlite,
  row: { type: number; name: string; id: string },
  table: StoredTable | undefined,
): void {
  const { type, name, id } = row
  db.prepare('INSERT OR IGNORE INTO rp_dirty VALUES (?, ?)').run([type, id])
  if (db.prepare('SELECT 1 FROM rp_base WHERE type = ? AND row_id = ?').all([type, id]).length > 0) return
  const quoted = identifier(name)
  const at = atTable(name)
  const [linked] = table
    ? db.prepare(`SELECT a.rid, a.proof FROM ${quoted} t LEFT JOIN ${at} a ON a.rid = t.rowid WHERE t.id = ?`).all([id])
    : []
  if (table === undefined || linked === undefined) {
    db.prepare('INSERT INTO rp_base (type, row_id) VALUES (?, ?)').run([type, id])
    return
  }
  const [rid, proof] = linked
  if (proof !== hash(id)) throw new DamagedTable(name)
  db.prepare(
    `INSERT INTO rp_base (type, row_id, src, op, sub, data, rest)
      SELECT ?1, ?2, a.src, a.op, a.sub, ${rowJson(table, 't')}, a.rest FROM ${quoted} t JOIN ${at} a ON a.rid = t.rowid WHERE t.rowid = ?3`,
  ).run([type, id, rid ?? null])
  db.prepare(`DELETE FROM ${at} WHERE rid = ?`).run([rid ?? null])
}
