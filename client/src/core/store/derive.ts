import { identifier, text, type Sqlite } from '../../sqlite/sqlite.ts'
import { typeOf } from './layout.ts'
import { atTable, columnList, member, ownField, ownFields, type StoredTable } from './tables.ts'

/** Marks what a local transaction covers: it is about to be forgotten. */
export function markTransaction(db: Sqlite, tx: number): void {
  db.prepare('INSERT OR IGNORE INTO rp_dirty SELECT type, row_id FROM rp_outbox WHERE tx = ?').run([tx])
}

/** Marks bases without ops: a statement that left its row as it was, as INSERT OR IGNORE does, has covered it. */
export function markIdle(db: Sqlite): void {
  db.exec(`INSERT OR IGNORE INTO rp_dirty SELECT type, row_id FROM rp_base b
    WHERE NOT EXISTS (SELECT 1 FROM rp_outbox o WHERE o.type = b.type AND o.row_id = b.row_id)`)
}

/**
 * Makes the marked rows that are covered `base ⊕ ops`; those that no op covers any more come back from the base, with
 * their link. Every mark is gone afterwards. Answers the names of the tables.
 */
export function deriveRows(db: Sqlite, tables: ReadonlyMap<string, StoredTable>): Set<string> {
  const changed = new Set<string>()
  for (const [name, table] of tables) {
    const type = typeOf(db, name)
    if (db.prepare('SELECT 1 FROM rp_dirty WHERE type = ? LIMIT 1').all([type]).length === 0) continue
    changed.add(name)
    for (const sql of derivation(name, type, table)) db.exec(sql)
    overlay(db, name, type, table)
    for (const sql of uncovering(name, type)) db.exec(sql)
  }
  db.exec('DELETE FROM rp_dirty')
  return changed
}

const covered = (type: number): string =>
  `rp_dirty d CROSS JOIN rp_base b ON b.type = d.type AND b.row_id = d.row_id WHERE d.type = ${type}`

/** The row as the server has it. */
function derivation(name: string, type: number, table: StoredTable): string[] {
  return [
    `DELETE FROM ${identifier(name)} WHERE id IN (SELECT d.row_id FROM ${covered(type)} AND b.data IS NULL)`,
    upsert(
      name,
      table,
      `SELECT d.row_id, ${ownFields(table, 'b.data').join(', ')} FROM ${covered(type)} AND b.data IS NOT NULL`,
    ),
  ]
}

function upsert(name: string, table: StoredTable, source: string): string {
  const set = Object.keys(table.columns).map((column) => `${identifier(column)} = excluded.${identifier(column)}`)
  return `INSERT INTO ${identifier(name)} (${columnList(table)}) ${source} ON CONFLICT (id) DO UPDATE SET ${set.join(', ')}`
}

/** Runs the local changes of the marked rows again, in the order in which they were made. */
function overlay(db: Sqlite, name: string, type: number, table: StoredTable): void {
  const ops = db
    .prepare(
      `SELECT o.op, o.row_id, o.data FROM rp_dirty d CROSS JOIN rp_outbox o ON o.type = d.type AND o.row_id = d.row_id
       WHERE d.type = ? ORDER BY o.seq`,
    )
    .all([type])
  for (const [op, rowId, data] of ops) {
    const id = text(rowId)
    if (op === 'delete') db.prepare(`DELETE FROM ${identifier(name)} WHERE id = ?`).run([id])
    else if (op === 'put')
      db.prepare(upsert(name, table, `SELECT ?1, ${ownFields(table, '?2').join(', ')} WHERE true`)).run([
        id,
        text(data),
      ])
    else db.prepare(patchStatement(name, table)).run([id, text(data)])
  }
}

/** A patch of a row that the server has deleted meanwhile changes nothing: it does not bring the row back. */
function patchStatement(name: string, table: StoredTable): string {
  const set = Object.keys(table.columns).map((column) => {
    const quoted = identifier(column)
    return `${quoted} = CASE WHEN json_type(?2, ${member(column)}) IS NULL THEN ${quoted} ELSE ${ownField(column, '?2')} END`
  })
  return `UPDATE ${identifier(name)} SET ${set.join(', ')} WHERE id = ?1`
}

/** What no op covers any more. */
function uncovering(name: string, type: number): string[] {
  const free = `${covered(type)} AND NOT EXISTS (SELECT 1 FROM rp_outbox o WHERE o.type = b.type AND o.row_id = b.row_id)`
  return [
    `INSERT INTO ${atTable(name)} (rid, proof, src, op, sub, rest)
      SELECT t.rowid, rp_hash(t.id), b.src, b.op, b.sub, b.rest FROM ${free.replace(' WHERE', ` CROSS JOIN ${identifier(name)} t ON t.id = b.row_id WHERE`)}`,
    `DELETE FROM rp_base WHERE type = ${type} AND row_id IN (SELECT d.row_id FROM ${free})`,
  ]
}
