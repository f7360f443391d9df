import type { Sql } from 'postgres'
import { RockpoolError } from '../protocol/errors.ts'
import { sourceError } from './connection.ts'
import { parseSnapshot } from './snapshot.ts'
import { contentHashSql } from './content-key.ts'
import type { CatalogTable, Snapshot, TablePart, TableName, Tuple } from './types.ts'

/** What ONE statement (READ COMMITTED, on the primary) saw. Tuples are texts as the stream would send them, columns in the table's order. */
export interface ReadRows {
  snapshot: Snapshot
  filenode: number
  tuples: Tuple[]
}

export async function currentSnapshot(sql: Sql): Promise<Snapshot> {
  try {
    const [row] = await sql<{ snapshot: string }[]>`SELECT pg_current_snapshot()::text AS snapshot`
    return parseSnapshot(row?.snapshot ?? '')
  } catch (error) {
    throw sourceError(error)
  }
}

/** `outOfLine`: blocks of what is stored apart from the rows (TOAST). */
export async function relationSize(sql: Sql, table: TablePart): Promise<{ filenode: number; blocks: number; outOfLine: number }> {
  const oid = String(table.oid)
  try {
    const [row] = await sql<{ filenode: string; blocks: string; out_of_line: string }[]>`
      SELECT coalesce(pg_relation_filenode(${oid}::oid), 0)::text AS filenode,
        (pg_relation_size(${oid}::oid) / current_setting('block_size')::int8)::text AS blocks,
        (SELECT coalesce(pg_relation_size(nullif(reltoastrelid, 0)), 0) / current_setting('block_size')::int8
          FROM pg_class WHERE oid = ${oid}::oid)::text AS out_of_line`
    return { filenode: Number(row?.filenode ?? 0), blocks: Number(row?.blocks ?? 0), outOfLine: Number(row?.out_of_line ?? 0) }
  } catch (error) {
    throw sourceError(error)
  }
}

/** Rows of one part in blocks [from, to). Throws ROCKPOOL_SOURCE_SETTINGS on a replica, whose snapshots do not list what runs. */
export async function readChunk(sql: Sql, table: CatalogTable, part: TablePart, from: number, to: number): Promise<ReadRows> {
  const condition = `t.ctid >= '(${Math.trunc(from)},0)'::tid AND t.ctid < '(${Math.trunc(to)},0)'::tid`
  return read(sql, table, part, `ONLY ${qualified(part)}`, condition, [])
}

/** All rows whose content hash lies in [from, to), as `contentKey` makes it; `to` null is the end. One snapshot holds all copies of a row. */
export async function readClass(sql: Sql, table: CatalogTable, from: string, to: string | null): Promise<ReadRows> {
  const hash = contentHashSql(table.columns.map(textOf))
  const condition = to === null ? `${hash} >= $1::text` : `${hash} >= $1::text AND ${hash} < $2::text`
  return read(sql, table, table, relation(table), condition, to === null ? [from] : [from, to])
}

/**
 * Rows by key (texts as `TableDecoder.key` makes them); those that are not there are left out. `what`: whole ones, or null for all that is not
 * the key.
 */
export async function readRows(sql: Sql, table: CatalogTable, keys: readonly string[], what: 'rows' | 'keys' = 'rows'): Promise<ReadRows> {
  const columns = table.key.map((name) => table.columns.find((column) => column.name === name))
  const values = keys.map((key) => JSON.parse(key) as (string | null)[])
  const arrays = columns.map((_, i) => `$${i + 1}::text::text[]`)
  const equal = columns.map(
    (column, i) => `t.${identifier(column?.name ?? '')} ${table.keyEquals[i] ?? '='} k.c${i}::${column?.typeName ?? 'text'}`,
  )
  const names = columns.map((_, i) => `c${i}`)
  const condition = `EXISTS (SELECT FROM unnest(${arrays.join(', ')}) AS k(${names.join(', ')}) WHERE ${equal.join(' AND ')})`
  return read(
    sql,
    table,
    table,
    relation(table),
    condition,
    columns.map((_, i) => arrayText(values.map((value) => value[i] ?? null))),
    what === 'rows' ? table.columns.map(textOf) : table.columns.map((each) => (table.key.includes(each.name) ? textOf(each) : 'NULL')),
  )
}

/** A partitioned table has no rows of its own; that of another one does not mean the tables that inherit from it. */
const relation = (table: CatalogTable) => (table.partitioned ? qualified(table) : `ONLY ${qualified(table)}`)

async function read(
  sql: Sql,
  table: CatalogTable,
  filenodeOf: { oid: number },
  from: string,
  condition: string,
  parameters: string[],
  columns: readonly string[] = table.columns.map(textOf),
): Promise<ReadRows> {
  const texts = `array_to_json(ARRAY[${columns.join(', ')}]::text[])::text AS texts`
  // What the publication's filter leaves out is not there for us either.
  const filter = table.rowFilter === null ? '' : ` AND (${table.rowFilter})`
  // A row is one value: the driver takes longer for many small ones than to parse one. The outer join keeps the snapshot when there are no rows; it, the filenode and the rows are of one statement.
  const statement = `
    SELECT h.snapshot, h.filenode, h.recovery, r.texts
    FROM (SELECT pg_current_snapshot()::text AS snapshot, coalesce(pg_relation_filenode(${filenodeOf.oid}), 0)::text AS filenode, pg_is_in_recovery() AS recovery) AS h
    LEFT JOIN LATERAL (SELECT ${texts} FROM ${from} AS t WHERE ${condition}${filter}) AS r ON true`
  try {
    const rows = await sql.unsafe(statement, parameters).values()
    const head = rows[0]
    if (!head) throw new RockpoolError('ROCKPOOL_INTERNAL', 'a chunk statement returned nothing')
    if (head[2] === true || head[2] === 't') {
      throw new RockpoolError('ROCKPOOL_SOURCE_SETTINGS', 'the database URL names a replica: rows can be copied from the primary only')
    }
    const tuples: Tuple[] = []
    for (const row of rows) {
      if (row[3] !== null) tuples.push(JSON.parse(String(row[3])) as (string | null)[])
      // Both forms of all rows together would be too much of large ones.
      row[3] = null
    }
    return { snapshot: parseSnapshot(String(head[0])), filenode: Number(head[1]), tuples }
  } catch (error) {
    throw sourceError(error)
  }
}

/** The stream sends what the type's output function prints; a cast to text differs from it for a few types. */
function textOf(column: CatalogTable['columns'][number]): string {
  const name = `t.${identifier(column.name)}`
  // boolean::text is `true`, bpchar::text and "char" trim or change; format('%s') uses the output function.
  // A composite of nulls IS NULL and yet has a text.
  return `CASE WHEN num_nulls(${name}) = 1 THEN NULL ELSE format('%s', ${name}) END`
}

function arrayText(values: readonly (string | null)[]): string {
  return `{${values.map((value) => (value === null ? 'NULL' : `"${value.replace(/["\\]/g, '\\$&')}"`)).join(',')}}`
}

const qualified = (table: TableName) => `${identifier(table.schema)}.${identifier(table.name)}`
const identifier = (name: string) => `"${name.replaceAll('"', '""')}"`
