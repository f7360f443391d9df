import { identifier, literal } from '../../sqlite/sqlite.ts'
import { atTable, columnList, restJson, rowJson, serverFields, type StoredTable } from './tables.ts'

export type TableStatements = ReturnType<typeof tableStatements>

/** What the ops of the server do in a table and beside it. */
export function tableStatements(name: string, table: StoredTable) {
  const quoted = identifier(name)
  const at = atTable(name)
  const names = Object.keys(table.columns)
  const fields = (json: string): string => serverFields(table, json).join(', ')
  return {
    insert: `INSERT INTO ${quoted} (rowid, ${columnList(table)}) VALUES (?1, ?2, ${fields('?3')}) ON CONFLICT (id) DO NOTHING`,
    link: `INSERT INTO ${at} (rid, proof, src, op, sub, rest) VALUES (?1, ?2, ?3, ?4, ?5, ${restJson(table, '?6')})`,
    find: `SELECT t.rowid, a.proof, a.src, a.sub, a.op FROM ${quoted} t LEFT JOIN ${at} a ON a.rid = t.rowid WHERE t.id = ?`,
    shown: `SELECT ${rowJson(table, 't')}, a.rest FROM ${quoted} t JOIN ${at} a ON a.rid = t.rowid WHERE t.rowid = ?`,
    update: `UPDATE ${quoted} SET ${serverFields(table, '?2')
      .map((field, n) => `${identifier(names[n] ?? '')} = ${field}`)
      .join(', ')} WHERE rowid = ?1`,
    relink: `UPDATE ${at} SET src = ?2, op = ?3, sub = ?4, rest = ${restJson(table, '?5')} WHERE rid = ?1`,
    delete: `DELETE FROM ${quoted} WHERE rowid = ?`,
    unlink: `DELETE FROM ${at} WHERE rid = ?`,
    swept: `SELECT t.id, a.src, a.sub FROM ${at} a LEFT JOIN ${quoted} t ON t.rowid = a.rid WHERE a.src >= ? AND a.src < ? AND a.src <> ?`,
    // As the triggers keep it: an object in a base stands for a blob, so one of the server becomes its text.
    setBase: `UPDATE rp_base SET src = ?3, op = ?4, sub = ?5, data = json_object(${names
      .map((column, n) => `${literal(column)}, json_quote(${serverFields(table, '?6')[n]})`)
      .join(', ')}), rest = ${restJson(table, '?6')} WHERE type = ?1 AND row_id = ?2`,
  }
}
