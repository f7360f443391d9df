import { identifier, literal } from '../../sqlite/sqlite.ts'
import type { ColumnType, TableSchema } from '../../types.ts'

/**
 * As the application declares its tables. `old`: uploads of this table carry the values that were there before.
 * `local`: nothing of it is uploaded, and nothing comes from the server.
 */
export interface StoreSchema {
  tables: Record<string, TableSchema & { old?: boolean; local?: boolean }>
}

/** A table of the app as it is in the file. It may have columns, or be one, that the schema of today lacks. */
export interface StoredTable {
  columns: Record<string, ColumnType>
  /** Columns that the schema has: what is uploaded. */
  visible: readonly string[]
  /** Uploads carry what was there before. */
  old: boolean
  /** It is of this device alone. */
  local: boolean
  indexes: Record<string, readonly string[]>
}

export const DECLARED: Record<ColumnType, string> = {
  text: 'TEXT',
  integer: 'INTEGER',
  real: 'REAL',
  boolean: 'BOOLEAN',
  json: 'TEXT',
}

export const atTable = (name: string): string => identifier(`rp_at_${name}`)

/** A JSON object of all columns of a row, without its id. JSON cannot hold a blob. */
export function rowJson(table: StoredTable, row: string): string {
  const fields = Object.keys(table.columns).map((column) => {
    const value = `${row}.${identifier(column)}`
    return `${literal(column)}, json(CASE typeof(${value}) WHEN 'blob' THEN json_object('$b', hex(${value})) ELSE json_quote(${value}) END)`
  })
  return `json_object(${fields.join(', ')})`
}

/** The path of a member in a JSON object. */
export const member = (column: string): string => literal(`$."${column}"`)

/**
 * Columns out of a JSON object of the server: inside SQLite, which keeps 64-bit integers exact and tells 1 from 1.0.
 */
export const serverFields = (table: StoredTable, json: string): string[] =>
  Object.keys(table.columns).map((column) => `${json} ->> ${member(column)}`)

/** The same of an object of our own, where an object stands for a blob. */
export const ownFields = (table: StoredTable, json: string): string[] =>
  Object.keys(table.columns).map((column) => ownField(column, json))

export function ownField(column: string, json: string): string {
  const path = member(column)
  return `CASE json_type(${json}, ${path}) WHEN 'object' THEN unhex(${json} ->> ${literal(`$."${column}"."$b"`)}) ELSE ${json} ->> ${path} END`
}

/** What the server sent and the table has no column for; NULL when that is nothing. */
export function restJson(table: StoredTable, json: string): string {
  const known = Object.keys(table.columns).map(member)
  return `nullif(json_remove(${[json, ...known].join(', ')}), '{}')`
}

export const columnList = (table: StoredTable): string =>
  ['id', ...Object.keys(table.columns).map(identifier)].join(', ')

/** The index on id stands apart from the table so that a first download can make it last. */
export function tableScript(name: string, table: StoredTable): string {
  const columns = Object.entries(table.columns).map(([column, type]) => `${identifier(column)} ${DECLARED[type]}`)
  return `CREATE TABLE ${identifier(name)} (id TEXT NOT NULL, ${columns.join(', ')});
    CREATE UNIQUE INDEX ${identifier(`rp_id_${name}`)} ON ${identifier(name)} (id);
    CREATE TABLE ${atTable(name)} (rid INTEGER PRIMARY KEY, proof INTEGER NOT NULL, src INTEGER NOT NULL, op INTEGER NOT NULL, sub INTEGER NOT NULL, rest TEXT);`
}

export const indexName = (table: string, index: string): string => identifier(`${table}_${index}`)

export const indexScript = (name: string, index: string, on: readonly string[]): string =>
  `CREATE INDEX ${indexName(name, index)} ON ${identifier(name)} (${on.map(identifier).join(', ')});`

const TRIGGERS = ['cover_insert', 'cover_update', 'cover_delete', 'put', 'patch', 'delete'] as const
type Trigger = (typeof TRIGGERS)[number]

export const dropTriggersScript = (name: string): string =>
  TRIGGERS.map((trigger) => `DROP TRIGGER IF EXISTS ${identifier(`rp_${trigger}_${name}`)};`).join('\n')

/**
 * While a local transaction runs, the first change of a row moves it with its origin into rp_base, and every change
 * becomes an op in the outbox. Triggers and not update hooks: they see old and new values, what they write commits and
 * rolls back with the change itself, and node:sqlite has no hooks.
 *
 * The trigger of INSERT looks at the stored row, because REPLACE fires no trigger of DELETE. "First" is NOT EXISTS and
 * never OR IGNORE: the conflict clause of the outer statement takes the place of those inside triggers, so that a
 * REPLACE would write over the base.
 */
export function triggerScript(name: string, type: number, table: StoredTable): string {
  const quoted = identifier(name)
  const at = atTable(name)
  const capturing = 'EXISTS (SELECT 1 FROM rp_capture)'
  const uncovered = (row: string): string =>
    `NOT EXISTS (SELECT 1 FROM rp_base WHERE type = ${type} AND row_id = ${row}.id)`
  const damaged = literal(`rp: storage_corrupt ${name}`)
  const trigger = (kind: Trigger, event: string, when: string, body: string): string =>
    `CREATE TRIGGER ${identifier(`rp_${kind}_${name}`)} ${event} ON ${quoted} WHEN ${when} BEGIN ${body} END;`

  // The app does not see it.
  if (table.visible.length === 0) {
    const refused = `SELECT RAISE(ABORT, ${literal(`rp: no such table: ${name}`)});`
    return [
      trigger('cover_insert', 'BEFORE INSERT', capturing, refused),
      trigger('cover_update', 'BEFORE UPDATE', capturing, refused),
      trigger('cover_delete', 'BEFORE DELETE', capturing, refused),
    ].join('\n')
  }

  if (table.local) {
    // So that whoever follows the table hears of it; the end of the transaction takes it out again.
    const touched = `INSERT INTO rp_outbox (tx, op, type, row_id) SELECT tx, 'local', ${type}, '' FROM rp_capture c
      WHERE NOT EXISTS (SELECT 1 FROM rp_outbox o WHERE o.tx = c.tx AND o.op = 'local' AND o.type = ${type});`
    const isText = `SELECT RAISE(ABORT, 'rp: the id of a row is text') WHERE typeof(NEW.id) <> 'text';`
    return [
      trigger('put', 'AFTER INSERT', capturing, `${isText} ${touched}`),
      trigger('patch', 'AFTER UPDATE', capturing, `${isText} ${touched}`),
      trigger('delete', 'AFTER DELETE', capturing, touched),
    ].join('\n')
  }

  const coverOld = `
    SELECT RAISE(ABORT, ${damaged}) WHERE NOT EXISTS (SELECT 1 FROM ${at} WHERE rid = OLD.rowid AND proof = rp_hash(OLD.id));
    INSERT INTO rp_base (type, row_id, src, op, sub, data, rest) SELECT ${type}, OLD.id, src, op, sub, ${rowJson(table, 'OLD')}, rest FROM ${at} WHERE rid = OLD.rowid;
    DELETE FROM ${at} WHERE rid = OLD.rowid;`
  const coverStored = `
    SELECT RAISE(ABORT, ${damaged}) FROM ${quoted} t WHERE t.id = NEW.id AND NOT EXISTS (SELECT 1 FROM ${at} WHERE rid = t.rowid AND proof = rp_hash(t.id));
    INSERT INTO rp_base (type, row_id, src, op, sub, data, rest)
      SELECT ${type}, NEW.id, a.src, a.op, a.sub, CASE WHEN t.id IS NOT NULL THEN ${rowJson(table, 't')} END, a.rest
      FROM (SELECT 1) LEFT JOIN ${quoted} t ON t.id = NEW.id LEFT JOIN ${at} a ON a.rid = t.rowid;
    DELETE FROM ${at} WHERE rid = (SELECT rowid FROM ${quoted} WHERE id = NEW.id);`

  const op = (kind: string, id: string, data: string, old = 'NULL'): string =>
    `INSERT INTO rp_outbox (tx, op, type, row_id, data, old) VALUES ((SELECT tx FROM rp_capture), '${kind}', ${type}, ${id}, ${data}, ${table.old ? old : 'NULL'});`
  const allOf = (row: Row): string =>
    table.visible
      .map((column) => `${literal(column)}, json(${uploadJson(row, column, table.columns[column])})`)
      .join(', ')
  const differs = (columns: readonly string[]): string =>
    columns.map((column) => `NEW.${identifier(column)} IS NOT OLD.${identifier(column)}`).join(' OR ')
  const changedOf = (row: Row): string => {
    const each = table.visible.map(
      (column) =>
        `SELECT ${literal(column)} AS k, ${uploadJson(row, column, table.columns[column])} AS v WHERE ${differs([column])}`,
    )
    return `(SELECT json_group_object(k, json(v)) FROM (${each.join(' UNION ALL ')}))`
  }
  // The app does not see them, so nothing of them would be uploaded.
  const hidden = Object.keys(table.columns).filter((column) => !table.visible.includes(column))
  const refuse = (what: string, when: string): string => `SELECT RAISE(ABORT, ${literal(`rp: ${what}`)}) WHERE ${when};`
  const unseen = (when: string): string => (hidden.length === 0 ? '' : refuse(`no such column of ${name}`, when))
  const numbered = 'a statement gives a row no number'
  const moves = 'NEW.id IS NOT OLD.id OR NEW.rowid <> OLD.rowid'

  // A number that the statement gives would, with REPLACE, delete the row that has it, and no trigger sees that. Before
  // the row is there SQLite shows -1 for none.
  return [
    trigger(
      'cover_insert',
      'BEFORE INSERT',
      `${capturing} AND (NEW.rowid <> -1 OR ${uncovered('NEW')})`,
      `${refuse(numbered, 'NEW.rowid <> -1')} ${coverStored}`,
    ),
    trigger(
      'cover_update',
      'BEFORE UPDATE',
      `${capturing} AND (${moves} OR ((${differs(Object.keys(table.columns))}) AND ${uncovered('OLD')}))`,
      `${refuse('the id of a row cannot change', moves)} ${coverOld}`,
    ),
    trigger('cover_delete', 'BEFORE DELETE', `${capturing} AND ${uncovered('OLD')}`, coverOld),
    trigger(
      'put',
      'AFTER INSERT',
      capturing,
      `${refuse(numbered, 'NEW.rowid < 1')} ${refuse('the id of a row is text', "typeof(NEW.id) <> 'text'")}
      ${unseen(hidden.map((column) => `NEW.${identifier(column)} IS NOT NULL`).join(' OR '))} ${op('put', 'NEW.id', `json_object(${allOf('NEW')})`)}`,
    ),
    trigger(
      'patch',
      'AFTER UPDATE',
      `${capturing} AND (${differs(Object.keys(table.columns))})`,
      `${unseen(differs(hidden))} ${op('patch', 'NEW.id', changedOf('NEW'), changedOf('OLD'))}`,
    ),
    trigger('delete', 'AFTER DELETE', capturing, op('delete', 'OLD.id', 'NULL', `json_object(${allOf('OLD')})`)),
  ].join('\n')
}

type Row = 'NEW' | 'OLD'

/** A value as it is uploaded. Booleans travel as true and false, whatever number stands for them here. */
function uploadJson(row: Row, column: string, type: ColumnType | undefined): string {
  const value = `${row}.${identifier(column)}`
  const plain = `CASE typeof(${value}) WHEN 'blob' THEN json_object('$b', hex(${value})) ELSE json_quote(${value}) END`
  if (type !== 'boolean') return plain
  return `CASE WHEN typeof(${value}) = 'integer' AND ${value} IN (0, 1) THEN iif(${value}, 'true', 'false') ELSE ${plain} END`
}
