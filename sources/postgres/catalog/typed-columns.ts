import type { Sql } from 'postgres'

/** What a column of a device is declared as. `none`: its values have no form there. */
export type DeviceKind = 'text' | 'integer' | 'bigint' | 'real' | 'boolean' | 'json' | 'timestamp' | 'none'

export interface TypedColumn {
  name: string
  kind: DeviceKind
  /** Its type, for people: `character varying(20)`. */
  type: string
  nullable: boolean
  /** The expression of its default, as Postgres prints it, or null. */
  preset: string | null
  /** Postgres computes it from others. */
  generated: boolean
}

export interface TypedTable {
  schema: string
  name: string
  columns: TypedColumn[]
}

const KINDS: Readonly<Record<string, DeviceKind>> = {
  int2: 'integer',
  int4: 'integer',
  int8: 'bigint',
  oid: 'bigint',
  float4: 'real',
  float8: 'real',
  bool: 'boolean',
  json: 'json',
  jsonb: 'json',
  timestamp: 'timestamp',
  timestamptz: 'timestamp',
  bytea: 'none',
}

/**
 * Returns all tables with what their columns are on a device. A domain is what it is made from; arrays, ranges and
 * composite types are JSON; every other type is text.
 */
export async function readTypedTables(sql: Sql): Promise<TypedTable[]> {
  type Found = Omit<TypedColumn, 'kind'> & { schema: string; table: string; base: string; structured: boolean }
  const rows = await sql<Found[]>`
    WITH RECURSIVE bases (oid, base) AS (
      SELECT oid, oid FROM pg_type WHERE typtype <> 'd'
      UNION ALL SELECT t.oid, b.base FROM bases b JOIN pg_type t ON t.typbasetype = b.oid AND t.typtype = 'd'
    )
    SELECT n.nspname AS schema, c.relname AS table, a.attname AS name, b.typname AS base,
      b.typtype IN ('c', 'r', 'm') OR b.typcategory = 'A' AS structured,
      format_type(a.atttypid, a.atttypmod) AS type,
      NOT (a.attnotnull OR t.typnotnull) AS nullable,
      CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END AS preset, a.attgenerated <> '' AS generated
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      JOIN pg_type t ON t.oid = a.atttypid JOIN bases ON bases.oid = t.oid JOIN pg_type b ON b.oid = bases.base
      LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    ORDER BY n.nspname, c.relname, a.attnum`
  const tables = new Map<string, TypedTable>()
  for (const { schema, table, base, structured, ...column } of rows) {
    const key = JSON.stringify([schema, table])
    const known = tables.get(key) ?? { schema, name: table, columns: [] }
    tables.set(key, known)
    known.columns.push({ ...column, kind: structured ? 'json' : (KINDS[base] ?? 'text') })
  }
  return [...tables.values()]
}
