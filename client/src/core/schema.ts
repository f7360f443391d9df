import type { ColumnType, Schema, TableSchema } from '../types.ts'
import { identifier, literal, text, transaction, type Sqlite } from './sqlite.ts'
import { deriveRows, markTable } from './rows.ts'

const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/

const DECLARED: Record<ColumnType, string> = {
  text: 'TEXT',
  integer: 'INTEGER',
  real: 'REAL',
  boolean: 'BOOLEAN',
  json: 'TEXT',
}

/** Throws on names that cannot be a table or column and on unknown types. */
export function checkSchema(schema: Schema): void {
  for (const [table, { columns, indexes = {} }] of Object.entries(schema.tables)) {
    if (!NAME.test(table) || /^(rp_|sqlite_)/i.test(table)) throw new Error(`Not a usable table name: ${table}`)
    if (Object.keys(columns).length === 0) throw new Error(`Table ${table} needs at least one column beside id`)
    for (const [column, type] of Object.entries(columns)) {
      if (!NAME.test(column)) throw new Error(`Not a usable column name: ${table}.${column}`)
      if (column.toLowerCase() === 'id') throw new Error(`Leave out the column id of ${table}: every table has one`)
      if (!Object.hasOwn(DECLARED, type)) throw new Error(`Unknown type of ${table}.${column}: ${String(type)}`)
    }
    for (const [index, on] of Object.entries(indexes)) {
      if (!NAME.test(index)) throw new Error(`Not a usable index name: ${index}`)
      for (const column of on)
        if (column !== 'id' && !Object.hasOwn(columns, column))
          throw new Error(`Index ${index} names ${column}, which ${table} lacks`)
    }
  }
}

/**
 * Makes the app's tables what the schema says. A table that differs is built anew from the op log and the local
 * transactions, without the network. Tables that the schema no longer has are dropped; their rows stay in the op log.
 */
export function applySchema(db: Sqlite, schema: Schema): void {
  checkSchema(schema)
  transaction(db, () => {
    const wanted = new Map(Object.entries(schema.tables).map(([name, table]) => [name, tableScript(name, table)]))
    const present = new Map<string, string>()
    for (const row of db.all("SELECT substr(key, 8) AS name, value FROM rp_kv WHERE key LIKE 'schema:%'")) {
      present.set(text(row.name), text(row.value))
    }
    for (const [name, script] of present) {
      if (wanted.get(name) === script) continue
      db.exec(`DROP TABLE ${identifier(name)}`)
      db.run('DELETE FROM rp_kv WHERE key = ?', [`schema:${name}`])
      present.delete(name)
    }
    for (const [name, script] of wanted) {
      if (present.has(name)) continue
      db.exec(script)
      db.run('INSERT INTO rp_kv (key, value) VALUES (?, ?)', [`schema:${name}`, script])
      markTable(db, name)
    }
    deriveRows(db, schema)
  })
}

function tableScript(name: string, table: TableSchema): string {
  const columns = Object.entries(table.columns)
  const declared = [
    'id TEXT PRIMARY KEY NOT NULL',
    ...columns.map(([column, type]) => `${identifier(column)} ${DECLARED[type]}`),
  ]
  const indexes = Object.entries(table.indexes ?? {}).map(
    ([index, on]) =>
      `CREATE INDEX ${identifier(`${name}_${index}`)} ON ${identifier(name)} (${on.map(identifier).join(', ')});`,
  )
  return [`CREATE TABLE ${identifier(name)} (${declared.join(', ')});`, ...indexes, ...triggers(name, columns)].join(
    '\n',
  )
}

/**
 * Change capture: while a local transaction runs (rp_capture holds its id) every change of a row becomes an op in
 * rp_outbox. Triggers and not update hooks, because node:sqlite has no hooks, because they see old and new values, and
 * because what they write commits and rolls back with the change itself. Applying a checkpoint leaves rp_capture empty,
 * so nothing is captured then.
 */
function triggers(name: string, columns: [string, ColumnType][]): string[] {
  const table = identifier(name)
  const value = ([column, type]: [string, ColumnType]): string => {
    const field = `NEW.${identifier(column)}`
    // Booleans travel as true and false, whatever number stands for them here.
    return type === 'boolean'
      ? `CASE WHEN ${field} IS NULL THEN 'null' WHEN ${field} THEN 'true' ELSE 'false' END`
      : `json_quote(${field})`
  }
  const all = columns.map((column) => `${literal(column[0])}, json(${value(column)})`).join(', ')
  const changed = columns
    .map(
      (c) =>
        `SELECT ${literal(c[0])} AS k, ${value(c)} AS v WHERE NEW.${identifier(c[0])} IS NOT OLD.${identifier(c[0])}`,
    )
    .join(' UNION ALL ')
  const differs = columns.map(([c]) => `NEW.${identifier(c)} IS NOT OLD.${identifier(c)}`).join(' OR ')
  const capturing = 'EXISTS (SELECT 1 FROM rp_capture)'
  const insert = (op: string, id: string, data: string): string =>
    `INSERT INTO rp_outbox (tx, op, type, row_id, data) VALUES ((SELECT tx FROM rp_capture), '${op}', ${literal(name)}, ${id}, ${data});`
  return [
    `CREATE TRIGGER ${identifier(`rp_put_${name}`)} AFTER INSERT ON ${table} WHEN ${capturing} BEGIN
      ${insert('put', 'NEW.id', `json_object(${all})`)} END;`,
    `CREATE TRIGGER ${identifier(`rp_patch_${name}`)} AFTER UPDATE ON ${table} WHEN (${differs}) AND ${capturing} BEGIN
      ${insert('patch', 'NEW.id', `(SELECT json_group_object(k, json(v)) FROM (${changed}))`)} END;`,
    `CREATE TRIGGER ${identifier(`rp_id_${name}`)} BEFORE UPDATE OF id ON ${table} WHEN NEW.id IS NOT OLD.id AND ${capturing} BEGIN
      SELECT RAISE(ABORT, 'the id of a row cannot change'); END;`,
    `CREATE TRIGGER ${identifier(`rp_delete_${name}`)} AFTER DELETE ON ${table} WHEN ${capturing} BEGIN
      ${insert('delete', 'OLD.id', 'NULL')} END;`,
  ]
}
