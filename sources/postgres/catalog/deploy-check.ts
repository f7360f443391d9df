import type { Sql } from 'postgres'
import { tableKey, tableText, type TableName } from '../../../protocol/tables.ts'
import { findTables, wantedRelations, type FoundTable } from './catalog.ts'
import { followTables, leavesOf } from './follow.ts'
import { meantTables, missingNames, noSuchTable } from './near-names.ts'
import { forAllTables, membersOf, publish, publishedTables } from './publication.ts'
import { DEFAULT_PUBLICATION } from '../prepare-source.ts'
import type { WantedColumns } from '../types.ts'

/** The kind of a column's values in comparisons. Values of different kinds are never equal. */
export type ValueKind = 'number' | 'text' | 'bytes'

export interface SchemaTable extends TableName {
  columns: string[]
  /** Columns of the primary key. */
  key: string[]
  /** The columns whose values are always of one kind, with the name of their type. */
  types: Record<string, { name: string; kind: ValueKind }>
}

/** What `decodeValue` returns for types that no option of the sync config affects. */
const KINDS: Readonly<Record<string, ValueKind>> = {
  int2: 'number',
  int4: 'number',
  int8: 'number',
  oid: 'number',
  float4: 'number',
  float8: 'number',
  bool: 'number',
  text: 'text',
  varchar: 'text',
  bpchar: 'text',
  name: 'text',
  uuid: 'text',
  numeric: 'text',
  bytea: 'bytes',
}

/** Returns the tables of the database with their columns, for checks of names and types in a sync config. */
export async function readSchema(sql: Sql): Promise<{ tables: SchemaTable[] }> {
  const rows = await sql<(TableName & { columns: { name: string; type: string | null }[]; key: string[] | null })[]>`
    SELECT n.nspname AS schema, c.relname AS name,
      json_agg(json_build_object('name', a.attname, 'type', CASE
        WHEN t.typtype = 'e' THEN 'enum ' || t.typname WHEN t.typnamespace = 'pg_catalog'::regnamespace THEN t.typname END) ORDER BY a.attnum) AS columns,
      (SELECT json_agg(k.attname ORDER BY array_position(i.indkey::int2[], k.attnum)) FROM pg_index i
        JOIN pg_attribute k ON k.attrelid = c.oid AND k.attnum = ANY (i.indkey) WHERE i.indrelid = c.oid AND i.indisprimary) AS key
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid
    WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND a.attnum > 0 AND NOT a.attisdropped
    GROUP BY c.oid, n.nspname, c.relname`
  return {
    tables: rows.map(({ schema, name, columns, key }) => ({
      schema,
      name,
      columns: columns.map((column) => column.name),
      key: key ?? [],
      types: Object.fromEntries(columns.flatMap((column) => typeOf(column) ?? [])),
    })),
  }
}

function typeOf({
  name,
  type,
}: {
  name: string
  type: string | null
}): [[string, { name: string; kind: ValueKind }]] | null {
  const label = type?.replace(/^enum /, '')
  const kind = type === null ? undefined : type === label ? KINDS[type] : 'text'
  return kind === undefined || label === undefined ? null : [[name, { name: label, kind }]]
}

export interface Unfollowable {
  name: TableName
  /** `schema.name` */
  table: string
  reason: string
  /** True when there is no table of this name. */
  missing: boolean
  /** True when its rows arrive anyway, without the columns that the reason names. */
  followed: boolean
}

/**
 * Returns the tables of these names that could not be followed at the moment. A `publication` that is passed is not
 * changed; `own` is the name of ours. `columns` says what is read of them, to find missing columns. Throws
 * ROCKPOOL_SOURCE_SETTINGS for a publication under which no table could be followed.
 */
export async function unfollowable(
  sql: Sql,
  given: readonly TableName[],
  publication: string | undefined,
  own = DEFAULT_PUBLICATION,
  columns: (names: readonly TableName[]) => WantedColumns = () => ({ all: false, read: new Set(), named: new Set() }),
): Promise<Unfollowable[]> {
  const names = [...new Map(given.map((name) => [tableKey(name), name])).values()]
  const found = await findTables(sql, names)
  const lost = missingNames(names, found)
  const meant = await meantTables(sql, lost)
  const isThere = names.filter((name) => !lost.includes(name))
  const missing = lost.map((name): Unfollowable => {
    return { name, table: tableText(name), reason: noSuchTable(meant(name)), missing: true, followed: false }
  })
  const { published, lacking, advice } = await publishedThen(sql, found, publication, own)
  const [server] = await sql<{ version: string }[]>`SELECT current_setting('server_version_num') AS version`
  const name = publication ?? own
  const { tables, refusedTables } = followTables(
    isThere,
    found,
    published,
    name,
    Number(server?.version ?? 0),
    columns,
    meant,
  )
  const followed = new Set(tables.map(tableKey))
  return [
    ...missing,
    ...lacking.map((table) => ({
      name: { schema: table.schema, name: table.name },
      table: tableText(table),
      reason: advice,
      missing: false,
      followed: false,
    })),
    ...refusedTables.map(({ name, table, reason }) => ({
      name,
      table,
      reason,
      missing: false,
      followed: followed.has(tableKey(name)),
    })),
  ]
}

/**
 * Returns what will be published once the replicator has changed what it may: it adds missing tables to a publication
 * of our own, all of them or none. Tables that would still be missing are `lacking`. They count as published, so that
 * other problems with them are found as well.
 */
async function publishedThen(sql: Sql, found: readonly FoundTable[], given: string | undefined, own: string) {
  const name = given ?? own
  const published = new Map(await publishedTables(sql, name))
  const [facts] = await sql<
    {
      is_there: boolean
      all: boolean
      owned: boolean
      via_root: boolean
      may_create: boolean
      members: number[] | null
    }[]
  >`
    SELECT p.oid IS NOT NULL AS is_there, coalesce(p.puballtables, false) AS all, coalesce(pg_has_role(p.pubowner, 'USAGE'), false) AS owned,
      coalesce(p.pubviaroot, false) AS via_root, has_database_privilege(current_database(), 'CREATE') AS may_create,
      (SELECT json_agg(r.prrelid::bigint) FROM pg_publication_rel r WHERE r.prpubid = p.oid) AS members
    FROM (SELECT) AS one LEFT JOIN pg_publication p ON p.pubname = ${name}`
  const exists = facts?.is_there ?? false
  if (given === undefined && facts?.all === true) throw forAllTables(name)
  const wanted = membersOf(found.filter((table) => table.named && table.refused === null))
  const isPublished = (table: FoundTable) =>
    [table, ...table.ancestors].some(({ oid }) => published.has(oid)) ||
    (table.partitioned && leavesOf(table, found).every(({ oid }) => published.has(oid)))
  const lacking = wanted.filter((table) =>
    given === undefined ? !facts?.members?.includes(table.oid) : !isPublished(table),
  )
  const mayAdd =
    given === undefined && (exists ? facts?.owned : facts?.may_create) === true && lacking.every(({ owned }) => owned)
  for (const table of lacking) {
    const under = table.partitioned && !facts?.via_root ? leavesOf(table, found) : [table]
    for (const { oid, schema, name: relation } of under) {
      published.set(oid, { oid, schema, name: relation, columns: null, rowFilter: null, membership: '' })
    }
  }
  const statement = publish(name, exists, exists ? lacking : wanted)
  const who = given === undefined ? ', and this role may not put it there: let the owner run ' : ': '
  return { published, lacking: mayAdd ? [] : lacking, advice: `it is not in the publication ${name}${who}${statement}` }
}

/** The assumed size of a row, in bytes, in a table that was never analysed. */
const ROW_BYTES = 100

/** Returns Postgres's estimate of the rows of these tables, for each partition separately. */
export async function estimateRows(sql: Sql, names: readonly TableName[]): Promise<{ table: string; rows: number }[]> {
  const rows = await sql<{ name: string; rows: string }[]>`
    WITH RECURSIVE ${wantedRelations(sql, names)}
    SELECT n.nspname || '.' || c.relname AS name,
      round(CASE WHEN c.reltuples < 0 THEN pg_relation_size(c.oid) / ${ROW_BYTES}::float ELSE c.reltuples END)::text AS rows
    FROM wanted w JOIN pg_class c ON c.oid = w.oid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r'
    ORDER BY 1`
  return rows.map(({ name, rows: count }) => ({ table: name, rows: Number(count) }))
}
