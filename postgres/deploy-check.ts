import type { Sql } from 'postgres'
import { findTables, wantedRelations } from './catalog.ts'
import { DEFAULT_PUBLICATION } from './source.ts'
import type { TableName } from './types.ts'

export interface SchemaTable extends TableName {
  columns: string[]
}

/** The tables of the database with their columns, for names in a sync config. */
export async function readSchema(sql: Sql): Promise<{ tables: SchemaTable[] }> {
  const rows = await sql<SchemaTable[]>`
    SELECT n.nspname AS schema, c.relname AS name, json_agg(a.attname ORDER BY a.attnum) AS columns
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND a.attnum > 0 AND NOT a.attisdropped
    GROUP BY n.nspname, c.relname`
  return { tables: rows.map(({ schema, name, columns }) => ({ schema, name, columns })) }
}

export interface Unfollowable {
  /** `schema.name` */
  table: string
  reason: string
  /** There is no table of this name. */
  missing: boolean
}

/** Tables of these names that could not be followed as things are. `publication` given: it is not changed. `own`: the name of ours. */
export async function unfollowable(
  sql: Sql,
  given: readonly TableName[],
  publication: string | undefined,
  own = DEFAULT_PUBLICATION,
): Promise<Unfollowable[]> {
  const names = [...new Map(given.map((name) => [JSON.stringify([name.schema, name.name]), name])).values()]
  const found = await findTables(sql, names)
  const { published, canAdd, advice } = await publicationOf(sql, publication, own)
  const missing = names
    .filter((name) => !name.name.endsWith('%') && !found.some((each) => each.schema === name.schema && each.name === name.name))
    .map((name) => ({ table: `${name.schema}.${name.name}`, reason: 'there is no such table', missing: true }))
  const refused = found.flatMap((table) => {
    const reason = table.refused ?? (table.partitioned || published.has(table.oid) || canAdd.has(table.oid) ? null : advice)
    return reason === null ? [] : [{ table: `${table.schema}.${table.name}`, reason, missing: false }]
  })
  return [...missing, ...refused]
}

/** Tables in the publication, and those that this role could add because it owns them. */
async function publicationOf(
  sql: Sql,
  given: string | undefined,
  own: string,
): Promise<{ published: Set<number>; canAdd: Set<number>; advice: string }> {
  const name = given ?? own
  const rows = await sql<{ oid: string; published: boolean; owned: boolean; may_create: boolean }[]>`
    SELECT c.oid::text, pg_has_role(current_user, c.relowner, 'USAGE') AS owned,
      has_database_privilege(current_database(), 'CREATE') OR EXISTS (SELECT FROM pg_publication WHERE pubname = ${name}) AS may_create,
      EXISTS (SELECT FROM pg_publication_tables t WHERE t.pubname = ${name} AND t.schemaname = n.nspname AND t.tablename = c.relname)
        OR EXISTS (SELECT FROM pg_publication_tables t JOIN pg_namespace rn ON rn.nspname = t.schemaname
          JOIN pg_class r ON r.relnamespace = rn.oid AND r.relname = t.tablename
          WHERE t.pubname = ${name} AND r.oid IN (SELECT relid FROM pg_partition_ancestors(c.oid))) AS published
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r'`
  return {
    published: new Set(rows.flatMap((row) => (row.published ? [Number(row.oid)] : []))),
    canAdd: new Set(rows.flatMap((row) => (given === undefined && row.owned && row.may_create ? [Number(row.oid)] : []))),
    advice: `it is not in the publication ${name}: ALTER PUBLICATION ${name} ADD TABLE …`,
  }
}

/** A row of a table that was never analysed is thought to take so many bytes. */
const ROW_BYTES = 100

/** How many rows the tables of these names are thought to have, partitions one by one. */
export async function estimateRows(sql: Sql, names: readonly TableName[]): Promise<{ table: string; rows: number }[]> {
  const rows = await sql<{ name: string; rows: string }[]>`
    WITH RECURSIVE ${wantedRelations(sql, names)}
    SELECT n.nspname || '.' || c.relname AS name,
      round(CASE WHEN c.reltuples < 0 THEN pg_relation_size(c.oid) / ${ROW_BYTES}::float ELSE c.reltuples END)::text AS rows
    FROM wanted w JOIN pg_class c ON c.oid = w.oid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r'
    ORDER BY 1`
  return rows.map(({ name, rows: count }) => ({ table: name, rows: Number(count) }))
}
