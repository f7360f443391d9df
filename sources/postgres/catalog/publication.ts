import type { Sql } from 'postgres'
import { RockpoolError } from '../../../protocol/errors.ts'
import type { FoundTable } from './catalog.ts'
import type { TableName } from '../../../protocol/tables.ts'

/** A relation under which a publication sends rows. */
export interface PublishedTable extends TableName {
  oid: number
  /** Names of the published columns, or null when the server is too old for column lists (before Postgres 15). */
  columns: string[] | null
  rowFilter: string | null
  /** Changes when the table is removed and added again, and when the publication is changed or created again. */
  membership: string
}

const identifier = (name: string) => `"${name.replaceAll('"', '""')}"`
const qualified = (table: TableName) => `${identifier(table.schema)}.${identifier(table.name)}`

/**
 * Makes the publication hold exactly these tables. Returns true when it had to be changed. An extra table that we may
 * not remove stays, because it does no harm. A child of a table by inheritance is a table of its own; partitions always
 * belong to their table. `columns` are the columns to name, or null for all. A list that names more is left alone, and
 * so is every list when `columns` is not passed. Throws ROCKPOOL_SOURCE_SETTINGS when the role may not change it.
 */
export async function keepPublication(
  sql: Sql,
  publication: string,
  tables: readonly FoundTable[],
  columns?: (table: FoundTable) => readonly string[] | null,
): Promise<boolean> {
  const name = identifier(publication)
  const [exists] = await sql<{ oid: string; all: boolean; via_root: boolean }[]>`
    SELECT oid::text, puballtables AS all, pubviaroot AS via_root FROM pg_publication WHERE pubname = ${publication}`
  if (exists?.all) throw forAllTables(publication)
  const members = exists
    ? await sql<{ oid: string; schema: string; name: string; columns: string[] | null }[]>`
        SELECT c.oid::text, n.nspname AS schema, c.relname AS name,
          (SELECT json_agg(a.attname) FROM pg_attribute a WHERE a.attrelid = c.oid
            AND a.attnum = ANY (string_to_array(translate(to_jsonb(r) ->> 'prattrs', '[],', ''), ' ')::int2[])) AS columns
        FROM pg_publication_rel r JOIN pg_class c ON c.oid = r.prrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE r.prpubid = ${exists.oid}::oid`
    : []
  const wanted = membersOf(tables)
  const add = wanted.filter((table) => !members.some((member) => Number(member.oid) === table.oid))
  const drop = members.filter((member) => !wanted.some((table) => table.oid === Number(member.oid)))
  // An earlier list may lack columns that are read now. It is replaced in one transaction, so no change is missed, but
  // the table is compared anyway.
  const exchange = wanted.filter((table) => {
    const listed = members.find((member) => Number(member.oid) === table.oid)?.columns ?? null
    if (!columns || listed === null) return false
    const named = columns(table)
    return named === null || named.some((column) => !listed.includes(column))
  })
  if (exists && add.length + drop.length + exchange.length === 0) return false
  let changed = !exists
  try {
    if (!exists) await sql.unsafe(`CREATE PUBLICATION ${name}`)
    for (const table of drop) if (await dropped(sql, name, table)) changed = true
    const withColumns = (table: FoundTable) => {
      const named = columns?.(table) ?? null
      return `${only(table)}${named === null ? '' : ` (${named.map(identifier).join(', ')})`}`
    }
    if (add.length > 0) await sql.unsafe(`ALTER PUBLICATION ${name} ADD TABLE ${add.map(withColumns).join(', ')}`)
    for (const table of exchange) {
      await sql.begin(async (tx) => {
        await tx.unsafe(`ALTER PUBLICATION ${name} DROP TABLE ${only(table)}`)
        await tx.unsafe(`ALTER PUBLICATION ${name} ADD TABLE ${withColumns(table)}`)
      })
    }
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : ''
    if (code === '42501') {
      throw settings(
        `the role may not change the publication ${publication} (${message(error)}): let the owner of the tables run ${publish(publication, exists !== undefined, exists ? add : wanted)}`,
      )
    }
    throw error
  }
  return changed || add.length + exchange.length > 0
}

/** Returns the members of the publication. A partition follows the table above it when that is a member. */
export const membersOf = (tables: readonly FoundTable[]): FoundTable[] =>
  tables.filter((table) => !table.ancestors.some((above) => tables.some((other) => other.oid === above.oid)))

/** Returns the complete statement that adds the tables to the publication. */
export function publish(publication: string, exists: boolean, tables: readonly Pick<FoundTable, 'quoted'>[]): string {
  const verb = exists
    ? `ALTER PUBLICATION ${readable(publication)} ADD TABLE`
    : `CREATE PUBLICATION ${readable(publication)} FOR TABLE`
  return `${verb} ${tables.map(({ quoted }) => quoted).join(', ')}`
}

/** Quotes a name only when it needs quotes. */
const readable = (name: string) => (/^[a-z_][a-z0-9_]*$/.test(name) ? name : identifier(name))

export const forAllTables = (publication: string) =>
  settings(
    `the publication ${publication} is one FOR ALL TABLES, which is not Rockpool's: drop it, or set PUBLICATION to its name`,
  )

/**
 * Removes one table, because each may have another owner. Returns false when we may not: then it does not keep us from
 * following the others.
 */
async function dropped(sql: Sql, name: string, table: TableName): Promise<boolean> {
  try {
    await sql.unsafe(`ALTER PUBLICATION ${name} DROP TABLE ${only(table)}`)
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === '42501') return false
    throw error
  }
}

const only = (table: TableName) => `ONLY ${qualified(table)}`
const message = (error: unknown) => (error instanceof Error ? error.message : String(error))

/**
 * Returns the relations under which the publication sends rows: tables, partitions, or partitioned tables with
 * `publish_via_partition_root`. Returns null when there is no such publication. Throws ROCKPOOL_SOURCE_SETTINGS when it
 * does not publish every kind of change.
 */
export async function publishedTables(sql: Sql, publication: string): Promise<Map<number, PublishedTable> | null> {
  const [row] = await sql<{ oid: string; version: string; missing: string[] | null }[]>`
    SELECT oid::text, xmin::text AS version,
      to_json(array_remove(ARRAY[CASE WHEN NOT pubinsert THEN 'insert' END, CASE WHEN NOT pubupdate THEN 'update' END,
        CASE WHEN NOT pubdelete THEN 'delete' END, CASE WHEN NOT pubtruncate THEN 'truncate' END], NULL)) AS missing
    FROM pg_publication WHERE pubname = ${publication}`
  if (!row) return null
  if (row.missing && row.missing.length > 0) {
    throw settings(
      `the publication ${publication} leaves out ${row.missing.join(', ')}: ALTER PUBLICATION ${readable(publication)} SET (publish = 'insert, update, delete, truncate')`,
    )
  }
  const rows = await sql<
    {
      oid: string
      schema: string
      name: string
      columns: string[] | null
      filter: string | null
      members: string | null
    }[]
  >`
    SELECT c.oid::text, t.schemaname AS schema, t.tablename AS name, to_json(to_jsonb(t) -> 'attnames') AS columns,
      to_jsonb(t) ->> 'rowfilter' AS filter,
      (SELECT string_agg(r.oid::text, ' ' ORDER BY r.oid) FROM pg_publication_rel r
        WHERE r.prpubid = ${row.oid}::oid AND (r.prrelid = c.oid OR r.prrelid IN (SELECT relid FROM pg_partition_ancestors(c.oid)))) AS members
    FROM pg_publication_tables t JOIN pg_namespace n ON n.nspname = t.schemaname
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename
    WHERE t.pubname = ${publication}`
  return new Map(
    rows.map(({ oid, schema, name, columns, filter, members }) => {
      const membership = `${row.oid} ${row.version} ${members ?? ''}`
      return [Number(oid), { oid: Number(oid), schema, name, columns, rowFilter: filter, membership }]
    }),
  )
}

const settings = (text: string) => new RockpoolError('ROCKPOOL_SOURCE_SETTINGS', text)
