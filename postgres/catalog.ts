import type { Sql } from 'postgres'
import type { CatalogColumn, CatalogTable, ColumnType } from './types.ts'

export interface RefusedTable {
  table: string
  reason: string
}

/** `name` may end in the wildcard `%`. */
export interface TableName {
  schema: string
  name: string
}

interface TableRow {
  oid: string
  schema: string
  name: string
  relkind: string
  relpersistence: string
  relreplident: string
  filenode: string
  relpages: string
  columns: { name: string; type: string; type_name: string; not_null: boolean; xmin: string }[] | null
  key: string[] | null
  deferrable: boolean | null
  identity_key: string[] | null
  may_read: boolean
  row_security: boolean
}

export interface FoundTable extends CatalogTable {
  /** Why it cannot be replicated, null when it can. */
  refused: string | null
}

/** All tables that the names mean, with what speaks against following them. */
export async function findTables(sql: Sql, names: readonly TableName[]): Promise<FoundTable[]> {
  const patterns = names.map(({ schema, name }) => ({ schema, name: likePattern(name) }))
  const rows = await sql<TableRow[]>`
    SELECT c.oid::text, n.nspname AS schema, c.relname AS name, c.relkind::text, c.relpersistence::text, c.relreplident::text,
      coalesce(pg_relation_filenode(c.oid), 0)::text AS filenode, c.relpages::text,
      (SELECT json_agg(json_build_object('name', a.attname, 'type', a.atttypid::text, 'type_name', format_type(a.atttypid, a.atttypmod),
          'not_null', a.attnotnull, 'xmin', a.xmin::text) ORDER BY a.attnum)
        FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS columns,
      (SELECT json_agg(a.attname ORDER BY k.n) FROM pg_index i CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k(attnum, n)
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
        WHERE i.indrelid = c.oid AND i.indisprimary AND k.n <= i.indnkeyatts) AS key,
      (SELECT NOT i.indimmediate FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) AS deferrable,
      (SELECT json_agg(a.attname ORDER BY k.n) FROM pg_index i CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k(attnum, n)
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
        WHERE i.indrelid = c.oid AND i.indisreplident AND k.n <= i.indnkeyatts) AS identity_key,
      has_table_privilege(c.oid, 'SELECT') AS may_read,
      c.relrowsecurity AND row_security_active(c.oid) AS row_security
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN json_to_recordset(${JSON.stringify(patterns)}::text::json) AS p(schema text, name text)
      ON n.nspname = p.schema AND c.relname LIKE p.name
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
    ORDER BY n.nspname, c.relname`
  const types = await readTypes(sql)
  const unique = new Map(rows.map((row) => [row.oid, row]))
  return [...unique.values()].map((row) => found(row, types))
}

function found(row: TableRow, types: (oid: number) => ColumnType): FoundTable {
  const identity = row.relreplident === 'n' || row.relreplident === 'f' || row.relreplident === 'i' ? row.relreplident : 'd'
  const columns: CatalogColumn[] = (row.columns ?? []).map((column) => ({
    name: column.name,
    typeOid: Number(column.type),
    typeName: column.type_name,
    type: types(Number(column.type)),
    notNull: column.not_null,
  }))
  const key = (identity === 'i' ? row.identity_key : row.key) ?? []
  const content = [row.oid, identity, key, row.filenode, row.columns, columns.map((column) => column.type)]
  return {
    oid: Number(row.oid),
    schema: row.schema,
    name: row.name,
    columns,
    key,
    identity,
    filenode: Number(row.filenode),
    relpages: Number(row.relpages),
    fingerprint: JSON.stringify(content),
    refused: refusal(row, identity, key),
  }
}

/** A table is never published before its identity is known to be usable: without one the application's own UPDATE and DELETE fail. */
function refusal(row: TableRow, identity: string, key: readonly string[]): string | null {
  if (row.relkind === 'p') return 'partitioned tables are not supported yet'
  if (row.relkind !== 'r') return 'it is not a table: views, materialized views and foreign tables are not in the WAL'
  if (row.relpersistence !== 'p') return 'it is unlogged or temporary, so its changes are not in the WAL: ALTER TABLE … SET LOGGED'
  if (identity === 'n') return 'its replica identity is NOTHING: ALTER TABLE … REPLICA IDENTITY DEFAULT'
  if (identity === 'i' && key.length === 0) return 'the index of its replica identity was dropped: ALTER TABLE … REPLICA IDENTITY DEFAULT'
  if (key.length === 0) return 'it has no primary key: add one'
  if (identity === 'd' && row.deferrable === true) return 'its primary key is DEFERRABLE, which cannot be a replica identity'
  if (!row.may_read) return 'this role may not read it: GRANT SELECT ON … TO the role of the database URL'
  if (row.row_security) return 'row level security hides rows from this role: ALTER ROLE … BYPASSRLS'
  return null
}

/** In a name only a `%` at the end is a wildcard. */
function likePattern(name: string): string {
  const wildcard = name.endsWith('%')
  const literal = (wildcard ? name.slice(0, -1) : name).replace(/[\\%_]/g, '\\$&')
  return wildcard ? `${literal}%` : literal
}

interface TypeRow {
  oid: string
  name: string
  kind: string
  category: string
  elem: string
  base: string
  delimiter: string
  subtype: string | null
  range: string | null
  attributes: { name: string; type: string }[] | null
  xmin: string
  labels: string | null
}

/** What the decoder of values must know, for every type but those of tables' rows. */
async function readTypes(sql: Sql): Promise<(oid: number) => ColumnType> {
  const rows = await sql<TypeRow[]>`
    SELECT t.oid::text, t.typname AS name, t.typtype::text AS kind, t.typcategory::text AS category, t.typelem::text AS elem,
      t.typbasetype::text AS base, coalesce(e.typdelim, t.typdelim)::text AS delimiter,
      r.rngsubtype::text AS subtype, m.rngtypid::text AS range, t.xmin::text,
      (SELECT json_agg(json_build_object('name', a.attname, 'type', a.atttypid::text) ORDER BY a.attnum)
        FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) AS attributes,
      (SELECT string_agg(l.enumlabel, ',' ORDER BY l.enumsortorder) FROM pg_enum l WHERE l.enumtypid = t.oid) AS labels
    FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
    LEFT JOIN pg_range r ON r.rngtypid = t.oid LEFT JOIN pg_range m ON m.rngmultitypid = t.oid
    WHERE t.typtype IN ('b', 'e', 'd', 'r', 'm') OR (t.typtype = 'c' AND c.relkind = 'c')`
  const byOid = new Map(rows.map((row) => [Number(row.oid), row]))
  const made = new Map<number, ColumnType>()
  const type = (oid: number, depth: number): ColumnType => {
    const known = made.get(oid)
    if (known) return known
    const row = byOid.get(oid)
    // A type that refers to itself would have no end; the text is what is left of it.
    if (!row || depth > 10) return { oid, name: row?.name ?? String(oid), kind: 'base' }
    const of = (other: string) => type(Number(other), depth + 1)
    const base = { oid, name: row.name }
    let result: ColumnType
    if (row.kind === 'e') result = { ...base, kind: 'enum' }
    else if (row.kind === 'd') result = { ...base, kind: 'domain', of: of(row.base) }
    else if (row.kind === 'r') result = { ...base, kind: 'range', of: of(row.subtype ?? '25') }
    else if (row.kind === 'm') result = { ...base, kind: 'multirange', of: of(row.range ?? '25') }
    else if (row.kind === 'c') {
      const attributes = (row.attributes ?? []).map((attribute) => ({ name: attribute.name, type: of(attribute.type) }))
      result = { ...base, kind: 'composite', attributes }
    } else if (row.category === 'A' && row.elem !== '0') {
      result = { ...base, kind: 'array', of: of(row.elem), ...(row.delimiter === ',' ? {} : { delimiter: row.delimiter }) }
    } else result = { ...base, kind: 'base' }
    if (row.labels !== null) result = { ...result, labels: row.labels }
    made.set(oid, result)
    return result
  }
  return (oid) => type(oid, 0)
}
