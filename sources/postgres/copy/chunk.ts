import type { Sql } from 'postgres'
import { RockpoolError } from '../../../protocol/errors.ts'
import { sourceError } from '../wire/connection.ts'
import { parseSnapshot } from './snapshot.ts'
import { contentHashSql } from './content-key.ts'
import { LargeValue, MAX_ROW_BYTES, MAX_VALUE_BYTES } from './large-value.ts'
import type { CatalogTable, ColumnType, Snapshot, TablePart, Tuple } from '../types.ts'
import type { TableName } from '../../../protocol/tables.ts'

/**
 * What ONE statement (READ COMMITTED, on the primary) saw. Tuples hold strings as the stream would send them, in the
 * table's column order.
 */
export interface ReadRows {
  snapshot: Snapshot
  filenode: number
  tuples: Tuple[]
  /** True when there are more rows, which would exceed `MAX_READ_BYTES`. */
  cut: boolean
}

/** The most bytes of rows, as JSON, that one statement returns. It always returns at least one row. */
export const MAX_READ_BYTES = 8 * 1024 * 1024

export async function currentSnapshot(sql: Sql): Promise<Snapshot> {
  try {
    const [row] = await sql<{ snapshot: string }[]>`SELECT pg_current_snapshot()::text AS snapshot`
    return parseSnapshot(row?.snapshot ?? '')
  } catch (error) {
    throw sourceError(error)
  }
}

/** Returns the size of a relation in blocks. `outOfLine` counts the blocks of its TOAST table. */
export async function relationSize(
  sql: Sql,
  table: TablePart,
): Promise<{ filenode: number; blocks: number; outOfLine: number }> {
  const oid = String(table.oid)
  try {
    const [row] = await sql<{ filenode: string; blocks: string; out_of_line: string }[]>`
      SELECT coalesce(pg_relation_filenode(${oid}::oid), 0)::text AS filenode,
        (pg_relation_size(${oid}::oid) / current_setting('block_size')::int8)::text AS blocks,
        (SELECT coalesce(pg_relation_size(nullif(reltoastrelid, 0)), 0) / current_setting('block_size')::int8
          FROM pg_class WHERE oid = ${oid}::oid)::text AS out_of_line`
    return {
      filenode: Number(row?.filenode ?? 0),
      blocks: Number(row?.blocks ?? 0),
      outOfLine: Number(row?.out_of_line ?? 0),
    }
  } catch (error) {
    throw sourceError(error)
  }
}

/** A place in a part. It includes the item, which is counted from 1 in each block. */
export interface Place {
  block: number
  item: number
}

/**
 * Returns rows of one part from a place to the start of a block, in physical order, at most `rows` of them and
 * `MAX_READ_BYTES`. `next` is where the remaining rows begin, or null when none remain. Throws ROCKPOOL_SOURCE_SETTINGS
 * on a replica, whose snapshots do not list running transactions.
 */
export async function readChunk(
  sql: Sql,
  table: CatalogTable,
  part: TablePart,
  from: Place,
  to: number,
  rows: number,
): Promise<ReadRows & { next: Place | null }> {
  const condition = `t.ctid >= '(${Math.trunc(from.block)},${Math.trunc(from.item)})'::tid AND t.ctid < '(${Math.trunc(to)},0)'::tid`
  return readStatement(sql, table, part, { from: `ONLY ${qualified(part)}`, condition, rows: Math.trunc(rows) })
}

/**
 * Returns all rows whose content hash is in [from, to), as `contentKey` computes it; null as `to` means the end. One
 * snapshot holds all copies of a row. With `cut` false the size is not limited, for a range that cannot be made
 * smaller.
 */
export async function readClass(
  sql: Sql,
  table: CatalogTable,
  from: string,
  to: string | null,
  cut = true,
): Promise<ReadRows> {
  const hash = contentHashSql(table.columns.map(textOf))
  const condition = to === null ? `${hash} >= $1::text` : `${hash} >= $1::text AND ${hash} < $2::text`
  return readStatement(sql, table, table, {
    from: relation(table),
    condition,
    parameters: to === null ? [from] : [from, to],
    cut,
  })
}

/**
 * Returns rows by key (strings as `TableDecoder.key` makes them); missing ones are left out. With `keys` as `what`, all
 * columns but those of the key are null. When the result was `cut`, the caller must ask for fewer keys.
 */
export async function readRows(
  sql: Sql,
  table: CatalogTable,
  keys: readonly string[],
  what: 'rows' | 'keys' = 'rows',
): Promise<ReadRows> {
  const values = keys.map((key) => JSON.parse(key) as (string | null)[])
  const arrays = table.key.map((_, i) => `$${i + 1}::text::text[]`)
  const equal = table.key.map((name, i) => {
    const type = table.keyTypes?.[i]
    const column = `t.${identifier(name)}`
    return type ? `${column} ${table.keyEquals[i] ?? '='} k.c${i}::${type}` : `format('%s', ${column}) = k.c${i}`
  })
  const names = table.key.map((_, i) => `c${i}`)
  return readStatement(sql, table, table, {
    from: relation(table),
    condition: `EXISTS (SELECT FROM unnest(${arrays.join(', ')}) AS k(${names.join(', ')}) WHERE ${equal.join(' AND ')})`,
    parameters: table.key.map((_, i) => arrayText(values.map((value) => value[i] ?? null))),
    only: what === 'rows' ? undefined : table.key,
  })
}

/**
 * Returns the FROM clause of a table. A partitioned table has no rows of its own; ONLY excludes the tables that inherit
 * from another one.
 */
const relation = (table: CatalogTable) => (table.partitioned ? qualified(table) : `ONLY ${qualified(table)}`)

interface Statement {
  from: string
  condition: string
  /** When set, rows come in physical order, and at most this many. */
  rows?: number
  parameters?: string[]
  /** The columns to read; the others are null. Undefined means all. */
  only?: readonly string[] | undefined
  /** False when the size of the read is not limited. */
  cut?: boolean
}

/**
 * A value that takes more bytes in storage is too large in any case: no type has a text shorter than a 16th of its
 * stored size.
 */
const HUGE_BYTES = 16 * MAX_VALUE_BYTES

/**
 * Postgres decides which values are too large, so that it sends only their lengths. Of the first row beyond the limit
 * it sends only the place. OFFSET 0 keeps Postgres from computing a text again wherever it is used.
 */
async function readStatement(
  sql: Sql,
  table: CatalogTable,
  filenodeOf: { oid: number },
  { from, condition, rows: most, parameters = [], only, cut = true }: Statement,
): Promise<ReadRows & { next: Place | null }> {
  const columns = table.columns.map((column, i) => {
    const name = `t.${identifier(column.name)}`
    const wanted = only === undefined || only.includes(column.name)
    const text = wanted ? textOf(column) : 'NULL::text'
    return { i, key: table.key.includes(column.name), text, stored: wanted && mayBeLarge(column.type) ? name : null }
  })
  // Rows that the publication's filter leaves out must not be copied either.
  const filter = table.rowFilter === null ? '' : ` AND (${table.rowFilter})`
  const longer = columns.filter(({ stored }) => stored !== null)
  const bytes = longer.map(
    ({ i }) =>
      `CASE WHEN octet_length(x.c${i}) > ${MAX_VALUE_BYTES} THEN 0 ELSE coalesce(octet_length(x.c${i}), 0) END`,
  )
  const left = ({ i, key }: { i: number; key: boolean }) =>
    `(x.s${i} > ${HUGE_BYTES} OR octet_length(x.c${i}) > ${MAX_VALUE_BYTES}${key ? '' : ` OR w.bytes > ${MAX_ROW_BYTES} AND x.c${i} IS NOT NULL`})`
  const texts = columns.map((column) =>
    column.stored === null ? `x.c${column.i}` : `CASE WHEN ${left(column)} THEN NULL ELSE x.c${column.i} END`,
  )
  const lengths = longer.map(
    (column) =>
      `CASE WHEN ${left(column)} THEN '${column.i}:' || coalesce(octet_length(x.c${column.i}), x.s${column.i}) END`,
  )
  const values = columns.map(({ i, text, stored }) =>
    stored === null
      ? `${text} AS c${i}`
      : `CASE WHEN pg_column_size(${stored}) > ${HUGE_BYTES} THEN NULL ELSE ${text} END AS c${i}, pg_column_size(${stored}) AS s${i}`,
  )
  const large = longer.length === 0 ? 'NULL::text' : `nullif(array_to_string(ARRAY[${lengths.join(', ')}], ' '), '')`
  const beyond = [
    ...(cut ? [`(z.total > ${MAX_READ_BYTES} AND z.total > z.size)`] : []),
    ...(most === undefined ? [] : [`z.n > ${most}`]),
    'false',
  ].join(' OR ')
  // A row is one JSON value, because the driver needs longer for many small values than for parsing one. The outer join
  // returns the snapshot also when there are no rows: snapshot, filenode and rows must be of one statement.
  const statement = `
    SELECT h.snapshot, h.filenode, h.recovery, r.texts, r.large, r.place
    FROM (SELECT pg_current_snapshot()::text AS snapshot, coalesce(pg_relation_filenode(${filenodeOf.oid}), 0)::text AS filenode, pg_is_in_recovery() AS recovery) AS h
    LEFT JOIN LATERAL (
      SELECT CASE WHEN ${beyond} THEN z.place::text END AS place, z.large, CASE WHEN NOT (${beyond}) THEN z.texts END AS texts
      FROM (
        SELECT y.*, octet_length(y.texts) AS size, sum(octet_length(y.texts)) OVER w AS total, row_number() OVER w AS n
        FROM (
          SELECT x.place, array_to_json(ARRAY[${texts.join(', ')}]::text[])::text AS texts, ${large} AS large
          FROM (
            SELECT ${['t.ctid AS place', ...values].join(', ')}
            FROM (SELECT t.ctid, t.* FROM ${from} AS t WHERE ${condition}${filter} ${most === undefined ? 'OFFSET 0' : `ORDER BY t.ctid LIMIT ${most + 1}`}) AS t OFFSET 0
          ) AS x${longer.length === 0 ? '' : ` CROSS JOIN LATERAL (SELECT ${bytes.join(' + ')} AS bytes OFFSET 0) AS w`} OFFSET 0
        ) AS y WINDOW w AS (ROWS UNBOUNDED PRECEDING)
      ) AS z ${cut ? `WHERE z.total - z.size <= ${MAX_READ_BYTES}` : ''}
    ) AS r ON true`
  try {
    const rows = await sql.unsafe(statement, parameters).values()
    const head = rows[0]
    if (!head) throw new RockpoolError('ROCKPOOL_INTERNAL', 'a chunk statement returned nothing')
    if (head[2] === true || head[2] === 't') {
      throw new RockpoolError(
        'ROCKPOOL_SOURCE_SETTINGS',
        'the database URL names a replica: rows can be copied from the primary only',
      )
    }
    const tuples: Tuple[] = []
    let next: Place | null = null
    for (const row of rows) {
      if (row[5] !== null) next = placeOf(String(row[5]))
      if (row[3] === null) continue
      const tuple = JSON.parse(String(row[3])) as Tuple
      for (const each of row[4] === null ? [] : String(row[4]).split(' ')) {
        const [column = '', size] = each.split(':')
        tuple[Number(column)] = new LargeValue(Number(size))
      }
      tuples.push(tuple)
      // Frees the text of the row at once, because both forms of all rows would need too much memory.
      row[3] = null
    }
    return { snapshot: parseSnapshot(String(head[0])), filenode: Number(head[1]), tuples, cut: next !== null, next }
  } catch (error) {
    throw sourceError(error)
  }
}

/** Types whose values never have a long text. */
const SHORT =
  /^(bool|int2|int4|int8|float4|float8|numeric|money|uuid|oid|date|time|timetz|timestamp|timestamptz|interval|inet|cidr|macaddr8?|name|char)$/
const mayBeLarge = (type: ColumnType): boolean =>
  !(type.kind === 'enum' || (type.kind === 'base' && SHORT.test(type.name)))

function placeOf(text: string): Place {
  const [block = '', item = ''] = text.slice(1, -1).split(',')
  return { block: Number(block), item: Number(item) }
}

/**
 * Returns SQL of a column's text as the stream sends it, which is what the type's output function prints. A cast to
 * text differs for a few types.
 */
function textOf(column: CatalogTable['columns'][number]): string {
  const name = `t.${identifier(column.name)}`
  // boolean::text is `true`, bpchar::text and "char" trim or change; format('%s') uses the output function.
  // A composite of nulls IS NULL, but has a text.
  return `CASE WHEN num_nulls(${name}) = 1 THEN NULL ELSE format('%s', ${name}) END`
}

function arrayText(values: readonly (string | null)[]): string {
  return `{${values.map((value) => (value === null ? 'NULL' : `"${value.replace(/["\\]/g, '\\$&')}"`)).join(',')}}`
}

const qualified = (table: TableName) => `${identifier(table.schema)}.${identifier(table.name)}`
const identifier = (name: string) => `"${name.replaceAll('"', '""')}"`
