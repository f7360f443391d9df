import type { PendingQuery, Row, Sql } from 'postgres'
import { tableText, type TableName } from '../../../protocol/tables.ts'
import { readTypes } from './column-types.ts'
import type { CatalogColumn, ColumnType } from '../types.ts'

export interface FoundColumn extends CatalogColumn {
  /** Empty, or `s` (stored) or `v` (virtual) for a generated column. */
  generated: string
  /** Changes with the column's definition, also when neither name nor type shows it (`ALTER TYPE … USING`). */
  version: string
}

/** A table, or a partition of one, and why it cannot be followed. */
export interface FoundTable extends TableName {
  oid: number
  /** True when the caller named it; false for a partition of a named table. */
  named: boolean
  partitioned: boolean
  /** All columns, including those that are not published. */
  columns: FoundColumn[]
  /** Columns of the primary key or of the identity index. Empty when rows are identified by all their values. */
  key: string[]
  /** The equality operator of each key column, as SQL. */
  keyEquals: string[]
  keyTypes: (string | null)[]
  identity: 'd' | 'n' | 'f' | 'i'
  /** The partitioned tables it belongs to, nearest first. */
  ancestors: (TableName & { oid: number })[]
  filenode: number
  /** `schema.name` as SQL, for statements that operators run. */
  quoted: string
  /** Whether this role owns it, or is a member of the role that does. */
  owned: boolean
  /** Why it cannot be replicated, or null when it can. */
  refused: string | null
}

interface KeyColumn {
  name: string
  equal: string | null
  /** The type under all domains. */
  base: string
}

interface TableRow {
  oid: string
  schema: string
  name: string
  named: boolean
  relkind: string
  relpersistence: string
  relreplident: string
  filenode: string
  columns:
    { name: string; type: string; type_name: string; not_null: boolean; generated: string; version: string }[] | null
  key: KeyColumn[] | null
  deferrable: boolean | null
  identity_key: KeyColumn[] | null
  ancestors: { oid: string; schema: string; name: string }[] | null
  may_read: boolean
  may_use_schema: boolean
  row_security: boolean
  owned: boolean
  quoted: string
  quoted_schema: string
  role: string
}

/** Returns all tables that match the names, and their partitions. */
export async function findTables(sql: Sql, names: readonly TableName[]): Promise<FoundTable[]> {
  const rows = await sql<TableRow[]>`
    WITH RECURSIVE ${wantedRelations(sql, names)}
    SELECT DISTINCT ON (n.nspname, c.relname) c.oid::text, n.nspname AS schema, c.relname AS name, w.named,
      c.relkind::text, c.relpersistence::text, c.relreplident::text, coalesce(pg_relation_filenode(c.oid), 0)::text AS filenode,
      (SELECT json_agg(json_build_object('name', a.attname, 'type', a.atttypid::text, 'type_name', format_type(a.atttypid, a.atttypmod),
          'not_null', a.attnotnull, 'generated', a.attgenerated, 'version', a.attnum || ' ' || a.xmin) ORDER BY a.attnum)
        FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
      ${keyColumns(sql, sql`i.indisprimary`)} AS key,
      (SELECT NOT i.indimmediate FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) AS deferrable,
      ${keyColumns(sql, sql`i.indisreplident`)} AS identity_key,
      (SELECT json_agg(json_build_object('oid', p.oid::text, 'schema', pn.nspname, 'name', p.relname) ORDER BY t.n)
        FROM pg_partition_ancestors(c.oid) WITH ORDINALITY AS t(relid, n) JOIN pg_class p ON p.oid = t.relid
        JOIN pg_namespace pn ON pn.oid = p.relnamespace WHERE t.relid <> c.oid) AS ancestors,
      has_table_privilege(c.oid, 'SELECT') AS may_read, has_schema_privilege(n.oid, 'USAGE') AS may_use_schema,
      c.relrowsecurity AND row_security_active(c.oid) AS row_security, pg_has_role(c.relowner, 'USAGE') AS owned,
      format('%I.%I', n.nspname, c.relname) AS quoted, quote_ident(n.nspname) AS quoted_schema, quote_ident(current_user) AS role
    FROM wanted w JOIN pg_class c ON c.oid = w.oid JOIN pg_namespace n ON n.oid = c.relnamespace
    ORDER BY n.nspname, c.relname`
  const types = await readTypes(sql)
  const found = rows.map((row): FoundTable => {
    const identity =
      row.relreplident === 'n' || row.relreplident === 'f' || row.relreplident === 'i' ? row.relreplident : 'd'
    const keyed = (identity === 'i' ? row.identity_key : row.key) ?? []
    const key = keyed.map(({ name }) => name)
    const columns = (row.columns ?? []).map((column) => ({
      name: column.name,
      typeOid: Number(column.type),
      typeName: column.type_name,
      type: types(Number(column.type)),
      notNull: column.not_null,
      generated: column.generated,
      version: column.version,
    }))
    return {
      oid: Number(row.oid),
      schema: row.schema,
      name: row.name,
      named: row.named,
      partitioned: row.relkind === 'p',
      columns,
      key,
      keyEquals: keyed.map(({ equal }) => equal ?? '='),
      keyTypes: keyed.map(({ name, base }) =>
        castsTrust(columns.find((column) => column.name === name)?.type) ? base : null,
      ),
      identity,
      ancestors: (row.ancestors ?? []).map(({ oid, schema, name }) => ({ oid: Number(oid), schema, name })),
      filenode: Number(row.filenode),
      quoted: row.quoted,
      owned: row.owned,
      refused: refusal(row, identity, key),
    }
  })
  for (const table of found) if (table.partitioned) table.refused ??= partitionRefusal(table, found)
  return found
}

/**
 * Returns true when a cast to the type calls nothing that the owner of a table could have written. Outer domains are
 * removed before.
 */
function castsTrust(type: ColumnType | undefined): boolean {
  if (type === undefined) return false
  return type.kind === 'domain' ? castsTrust(type.of) : !holdsDomain(type)
}

function holdsDomain(type: ColumnType): boolean {
  if (type.kind === 'domain') return true
  return (
    (type.of !== undefined && holdsDomain(type.of)) ||
    (type.attributes?.some((attribute) => holdsDomain(attribute.type)) ?? false)
  )
}

/**
 * SQL of an index's columns with the `=` of their operator classes. The operator of an extension's type need not be on
 * the search path.
 */
function keyColumns(sql: Sql, condition: PendingQuery<Row[]>) {
  return sql`(SELECT json_agg(json_build_object('name', a.attname,
        'base', (WITH RECURSIVE b AS (SELECT a.atttypid AS oid, a.atttypmod AS mod
            UNION ALL SELECT t.typbasetype, t.typtypmod FROM b JOIN pg_type t ON t.oid = b.oid WHERE t.typtype = 'd')
          SELECT format_type(b.oid, b.mod) FROM b JOIN pg_type t ON t.oid = b.oid WHERE t.typtype <> 'd'),
        'equal', (
        SELECT format('OPERATOR(%I.%s)', pn.nspname, o.oprname) FROM pg_opclass oc
        JOIN pg_amop ao ON ao.amopfamily = oc.opcfamily AND ao.amoplefttype = oc.opcintype AND ao.amoprighttype = oc.opcintype AND ao.amopstrategy = 3
        JOIN pg_operator o ON o.oid = ao.amopopr AND o.oprname = '=' JOIN pg_namespace pn ON pn.oid = o.oprnamespace
        WHERE oc.oid = i.indclass[k.n::int - 1])) ORDER BY k.n)
      FROM pg_index i CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k(attnum, n)
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
      WHERE i.indrelid = c.oid AND ${condition} AND k.n <= i.indnkeyatts)`
}

/**
 * SQL to follow WITH RECURSIVE: `wanted` has the `oid` of every relation that matches the names and of all their
 * partitions, and whether it is `named`. It does not use pg_partition_tree, which locks one partition after the other.
 * If the application's TRUNCATE of the table waits for one of those partitions meanwhile, that is a deadlock, and
 * Postgres may cancel the application's statement.
 */
export function wantedRelations(sql: Sql, names: readonly TableName[]) {
  return sql`named AS (${namedRelations(sql, names)}),
    tree AS (SELECT oid FROM named WHERE relkind = 'p'
      UNION SELECT i.inhrelid FROM tree JOIN pg_inherits i ON i.inhparent = tree.oid AND NOT i.inhdetachpending),
    wanted AS (SELECT oid, true AS named FROM named UNION ALL SELECT oid, false FROM tree WHERE oid NOT IN (SELECT oid FROM named))`
}

/** SQL of the relations that match the names: `oid`, `relkind`. */
function namedRelations(sql: Sql, names: readonly TableName[]) {
  const patterns = names.map(({ schema, name }) => ({ schema, name: likePattern(name) }))
  return sql`SELECT DISTINCT c.oid, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN json_to_recordset(${JSON.stringify(patterns)}::text::json) AS p(schema text, name text) ON n.nspname = p.schema AND c.relname LIKE p.name
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')`
}

/**
 * Returns why a table cannot be followed, or null. A table is published only when its identity is usable, because the
 * application's own UPDATE and DELETE fail on a published table without one.
 */
function refusal(row: TableRow, identity: string, key: readonly string[]): string | null {
  if (row.relkind !== 'r' && row.relkind !== 'p') {
    return 'it is not a table: views, materialized views and foreign tables are not in the WAL'
  }
  if (!row.may_read || !row.may_use_schema) {
    const grants = [
      ...(row.may_use_schema ? [] : [`GRANT USAGE ON SCHEMA ${row.quoted_schema} TO ${row.role}`]),
      ...(row.may_read ? [] : [`GRANT SELECT ON ${row.quoted} TO ${row.role}`]),
    ]
    return `this role may not read it: ${grants.join('; ')}`
  }
  if (row.row_security) return `row level security hides rows from this role: ALTER ROLE ${row.role} BYPASSRLS`
  // For a partitioned table the identities of its partitions count.
  if (row.relkind === 'p') return null
  if (row.relpersistence !== 'p')
    return `it is unlogged or temporary, so its changes are not in the WAL: ALTER TABLE ${row.quoted} SET LOGGED`
  // A deferrable primary key cannot be a replica identity.
  const usable = row.key !== null && row.deferrable !== true ? 'DEFAULT' : 'FULL'
  if (identity === 'n') return `its replica identity is NOTHING: ALTER TABLE ${row.quoted} REPLICA IDENTITY ${usable}`
  if (identity === 'i' && key.length === 0) {
    return `the index of its replica identity was dropped: ALTER TABLE ${row.quoted} REPLICA IDENTITY ${usable}`
  }
  if (key.length === 0 && identity !== 'f') {
    return `it has no primary key, so its UPDATE and DELETE would fail when it is published: add one, or run ALTER TABLE ${row.quoted} REPLICA IDENTITY FULL`
  }
  if (identity === 'd' && row.deferrable === true) {
    return `its primary key is DEFERRABLE, which cannot be a replica identity: ALTER TABLE ${row.quoted} REPLICA IDENTITY FULL`
  }
  return null
}

/** Publishing a partitioned table publishes all its partitions. */
function partitionRefusal(table: FoundTable, found: readonly FoundTable[]): string | null {
  for (const each of found) {
    if (each.refused === null || !each.ancestors.some((ancestor) => ancestor.oid === table.oid)) continue
    return `its partition ${tableText(each)} cannot be followed: ${each.refused}`
  }
  return null
}

/** Returns the LIKE pattern of a name, in which only a `%` at the end is a wildcard. */
function likePattern(name: string): string {
  const wildcard = name.endsWith('%')
  const literal = (wildcard ? name.slice(0, -1) : name).replace(/[\\%_]/g, '\\$&')
  return wildcard ? `${literal}%` : literal
}
