import { identifier, type Sqlite } from '../../sqlite/sqlite.ts'
import type { ColumnType } from '../../types.ts'
import { ProblemError } from '../problem.ts'
import { checkSchema } from '../schema.ts'
import { Applier } from './apply.ts'
import { deriveRows } from './derive.ts'
import { GENERATIONS, get, put, typeOf } from './layout.ts'
import {
  atTable,
  columnList,
  DECLARED,
  dropTriggersScript,
  indexName,
  indexScript,
  member,
  tableScript,
  triggerScript,
  type StoredTable,
  type StoreSchema,
} from './tables.ts'

/** What of a table is in the file. */
type Kept = Pick<StoredTable, 'columns' | 'indexes' | 'local'>

/**
 * Makes the file fit the schema, without losing rows or unsent writes, and answers all tables that it has. Schemas are
 * not ordered: an older one may come after a newer one, so a table or column that the schema lacks stays, is filled on,
 * and is there again when a schema has it. A column whose type has changed in a way that loses something has its
 * buckets loaded again; until then its values are what the old ones become.
 */
export function applySchema(db: Sqlite, schema: StoreSchema): Map<string, StoredTable> {
  checkSchema(schema)
  return db.transaction(() => {
    const kept = keptTables(db)
    const tables = new Map<string, StoredTable>()
    const added: string[] = []
    const names = new Set([...kept.keys(), ...Object.keys(schema.tables)])
    for (const name of names) {
      const before = kept.get(name)
      const wanted = Object.hasOwn(schema.tables, name) ? schema.tables[name] : undefined
      if (before && wanted && before.local !== (wanted.local ?? false)) throw otherKind(name, before)
      const table = joined(before, wanted)
      tables.set(name, table)
      const type = typeOf(db, name)
      if (before === undefined) {
        db.exec(tableScript(name, table))
        markCovered(db, type)
        added.push(name)
      } else {
        db.exec(dropTriggersScript(name))
        change(db, name, type, before, table)
      }
      changeIndexes(db, name, before?.indexes ?? {}, table.indexes)
      db.exec(triggerScript(name, type, table))
    }
    fillAdded(db, tables, added)
    put(
      db,
      'tables',
      JSON.stringify(
        Object.fromEntries([...tables].map(([name, { columns, indexes }]) => [name, { columns, indexes }])),
      ),
    )
    // Apart from the others: a build that does not know it leaves it alone.
    put(db, 'local_tables', JSON.stringify([...tables].flatMap(([name, { local }]) => (local ? [name] : []))))
    return tables
  })
}

function keptTables(db: Sqlite): Map<string, Kept> {
  const tables = JSON.parse(String(get(db, 'tables') ?? '{}')) as Record<string, Omit<Kept, 'local'>>
  const local = JSON.parse(String(get(db, 'local_tables') ?? '[]')) as string[]
  return new Map(Object.entries(tables).map(([name, each]) => [name, { ...each, local: local.includes(name) }]))
}

const otherKind = (name: string, { local }: Kept): ProblemError =>
  new ProblemError(
    'table_kind',
    `${name} was ${local ? 'a table of this device alone' : 'a table that is kept in step'}: give the new one another name`,
  )

function joined(before: Kept | undefined, wanted: StoreSchema['tables'][string] | undefined): StoredTable {
  if (wanted === undefined)
    return { columns: before?.columns ?? {}, visible: [], old: false, local: before?.local ?? false, indexes: {} }
  const { columns, indexes = {}, old = false, local = false } = wanted
  return { columns: { ...before?.columns, ...columns }, visible: Object.keys(columns), old, local, indexes }
}

function change(db: Sqlite, name: string, type: number, before: Kept, table: StoredTable): void {
  const retyped = Object.keys(before.columns).filter((column) => affinity(before, column) !== affinity(table, column))
  if (retyped.length > 0) {
    rebuild(db, name, before, table)
    if (retyped.some((column) => affinity(before, column) !== DECLARED.text)) loadAgain(db, name, type)
  }
  for (const column of Object.keys(table.columns))
    if (!Object.hasOwn(before.columns, column)) addColumn(db, name, type, column, table)
  markCovered(db, type)
}

function markCovered(db: Sqlite, type: number): void {
  db.prepare('INSERT OR IGNORE INTO rp_dirty SELECT type, row_id FROM rp_base WHERE type = ?').run([type])
}

const affinity = ({ columns }: Pick<Kept, 'columns'>, column: string): string => DECLARED[columns[column] as ColumnType]

/** What the server has sent of it is in `rest`. */
function addColumn(db: Sqlite, name: string, type: number, column: string, table: StoredTable): void {
  const [quoted, field, path] = [identifier(name), identifier(column), member(column)]
  db.exec(`ALTER TABLE ${quoted} ADD COLUMN ${field} ${affinity(table, column)};
    UPDATE ${quoted} AS t SET ${field} = a.rest ->> ${path} FROM ${atTable(name)} a WHERE a.rid = t.rowid AND json_type(a.rest, ${path}) IS NOT NULL;
    UPDATE ${atTable(name)} SET rest = nullif(json_remove(rest, ${path}), '{}') WHERE json_type(rest, ${path}) IS NOT NULL;
    UPDATE rp_base SET data = json_set(data, ${path}, json_quote(rest ->> ${path})), rest = nullif(json_remove(rest, ${path}), '{}')
      WHERE type = ${type} AND data IS NOT NULL AND json_type(rest, ${path}) IS NOT NULL`)
}

/** SQLite changes no type of a column. Rows keep their numbers, so their links hold. */
function rebuild(db: Sqlite, name: string, before: Kept, table: StoredTable): void {
  const next = identifier(`rp_next_${name}`)
  const same: StoredTable = {
    ...table,
    columns: Object.fromEntries(Object.keys(before.columns).map((column) => [column, table.columns[column] ?? 'text'])),
  }
  const list = columnList(same)
  const columns = Object.keys(same.columns).map((column) => `${identifier(column)} ${affinity(same, column)}`)
  db.exec(`CREATE TABLE ${next} (id TEXT NOT NULL, ${columns.join(', ')});
    INSERT INTO ${next} (rowid, ${list}) SELECT rowid, ${list} FROM ${identifier(name)};
    DROP TABLE ${identifier(name)};
    ALTER TABLE ${next} RENAME TO ${identifier(name)};
    CREATE UNIQUE INDEX ${identifier(`rp_id_${name}`)} ON ${identifier(name)} (id);`)
  for (const [index, on] of Object.entries(before.indexes)) db.exec(indexScript(name, index, on))
}

/** Every bucket that has rows of the table. What is shown stays until they have come. */
function loadAgain(db: Sqlite, name: string, type: number): void {
  const sources = `SELECT src FROM ${atTable(name)} UNION SELECT src FROM rp_base WHERE type = ${type} UNION SELECT src FROM rp_copies WHERE type = ${type}`
  db.exec(`DELETE FROM rp_stage WHERE bucket IN (SELECT src / ${GENERATIONS} FROM (${sources}));
    UPDATE rp_buckets SET last_op = 0, applied_op = 0, checksum = 0, ops = 0, generation = (generation + swept) % ${GENERATIONS}, swept = 0
      WHERE id IN (SELECT src / ${GENERATIONS} FROM (${sources}))`)
}

function changeIndexes(db: Sqlite, name: string, before: StoredTable['indexes'], wanted: StoredTable['indexes']): void {
  for (const [index, on] of Object.entries(before))
    if (String(wanted[index]) !== String(on)) db.exec(`DROP INDEX ${indexName(name, index)}`)
  for (const [index, on] of Object.entries(wanted))
    if (String(before[index]) !== String(on)) db.exec(indexScript(name, index, on))
}

/** Rows that came before the schema had their table have waited among the copies. */
function fillAdded(db: Sqlite, tables: ReadonlyMap<string, StoredTable>, added: readonly string[]): void {
  const applier = new Applier(db, tables)
  for (const name of added) applier.adopt(name)
  deriveRows(db, tables)
}
