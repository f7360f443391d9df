import type { Schema, TableSchema } from '../types.ts'
import { identifier, literal, text, type Sqlite } from './sqlite.ts'

// The app's tables are derived: a row is the PUT with the highest op id among all buckets as far as they are applied,
// and on top of it the local transactions that the server has not confirmed. Whatever changes one of the two marks the
// row in rp_dirty and derives it again, in the same SQLite transaction.

export function markTable(db: Sqlite, type: string): void {
  db.run(
    `INSERT OR IGNORE INTO rp_dirty SELECT type, row_id FROM rp_ops WHERE type = ?1
     UNION ALL SELECT type, row_id FROM rp_outbox WHERE type = ?1`,
    [type],
  )
}

/** Derives the marked rows and answers the names of their tables. Every mark is gone afterwards. */
export function deriveRows(db: Sqlite, schema: Schema): Set<string> {
  const changed = new Set<string>()
  for (const row of db.all('SELECT DISTINCT type FROM rp_dirty')) {
    const type = text(row.type)
    const table = tableOf(schema, type)
    if (!table) continue
    changed.add(type)
    db.run(removeStatement(type))
    db.run(putStatement(type, table))
  }
  overlay(db, schema)
  db.run('DELETE FROM rp_dirty')
  return changed
}

/** The wire may name a table `constructor`, which every object has from its prototype. */
const tableOf = (schema: Schema, type: string): TableSchema | undefined =>
  Object.hasOwn(schema.tables, type) ? schema.tables[type] : undefined

const applied = 'rp_ops o CROSS JOIN rp_buckets b ON b.id = o.bucket AND o.op_id <= b.applied_op'

function removeStatement(type: string): string {
  return `DELETE FROM ${identifier(type)} WHERE id IN (SELECT d.row_id FROM rp_dirty d WHERE d.type = ${literal(type)} AND NOT EXISTS (
    SELECT 1 FROM ${applied} WHERE o.type = d.type AND o.row_id = d.row_id AND o.data IS NOT NULL))`
}

function putStatement(type: string, table: TableSchema): string {
  // Bare columns beside max() are those of the row that has the maximum: a documented promise of SQLite.
  const newest = `SELECT o.row_id AS id, o.data AS data, max(o.op_id) FROM rp_dirty d CROSS JOIN ${applied}
    WHERE d.type = ${literal(type)} AND o.type = d.type AND o.row_id = d.row_id AND o.data IS NOT NULL GROUP BY o.row_id`
  return upsert(type, table, `SELECT id, ${fields(table, 'data')} FROM (${newest}) WHERE true`)
}

function upsert(type: string, table: TableSchema, source: string): string {
  const names = Object.keys(table.columns).map(identifier)
  const set = names.map((name) => `${name} = excluded.${name}`).join(', ')
  return `INSERT INTO ${identifier(type)} (id, ${names.join(', ')}) ${source} ON CONFLICT (id) DO UPDATE SET ${set}`
}

/** Columns out of a JSON text inside SQLite, which keeps 64-bit integers exact and tells 1 from 1.0. */
function fields(table: TableSchema, json: string): string {
  return Object.keys(table.columns)
    .map((name) => `${json} ->> ${literal(`$."${name}"`)}`)
    .join(', ')
}

/** Runs the unconfirmed local changes of the marked rows again, in the order in which they were made. */
function overlay(db: Sqlite, schema: Schema): void {
  const ops = db.all(
    'SELECT o.op, o.type, o.row_id, o.data FROM rp_outbox o JOIN rp_dirty d ON d.type = o.type AND d.row_id = o.row_id ORDER BY o.seq',
  )
  for (const { op, type: name, row_id, data } of ops) {
    const type = text(name)
    const table = tableOf(schema, type)
    if (!table) continue
    const id = text(row_id)
    if (op === 'delete') db.run(`DELETE FROM ${identifier(type)} WHERE id = ?`, [id])
    else if (op === 'put') db.run(upsert(type, table, `SELECT ?1, ${fields(table, '?2')} WHERE true`), [id, text(data)])
    else db.run(patchStatement(type, table), [id, text(data)])
  }
}

/** A patch of a row that the server has deleted meanwhile changes nothing: it does not bring the row back. */
function patchStatement(type: string, table: TableSchema): string {
  const set = Object.keys(table.columns).map((name) => {
    const path = literal(`$."${name}"`)
    return `${identifier(name)} = CASE WHEN json_type(?2, ${path}) IS NULL THEN ${identifier(name)} ELSE ?2 ->> ${path} END`
  })
  return `UPDATE ${identifier(type)} SET ${set.join(', ')} WHERE id = ?1`
}
