import type { Sql } from 'postgres'
import type { ColumnType } from '../types.ts'

interface TypeRow {
  oid: string
  name: string
  kind: string
  /** Not taken from the category, to which int2vector and oidvector belong too: those print `1 2`. */
  is_array: boolean
  elem: string
  base: string
  delimiter: string
  subtype: string | null
  range: string | null
  attributes: { name: string; type: string }[] | null
  labels: string | null
}

/**
 * The deepest nesting of types. Postgres allows no type that contains itself, so this only guards against an endless
 * loop.
 */
const MAX_DEPTH = 200

/**
 * Returns a function from the OID of a type to what the decoder of values needs. Row types of tables are read only when
 * a column has them.
 */
export async function readTypes(sql: Sql): Promise<(oid: number) => ColumnType> {
  const rows = await sql<TypeRow[]>`
    SELECT t.oid::text, t.typname AS name, t.typtype::text AS kind, (t.typinput = 'array_in'::regproc) AS is_array, t.typelem::text AS elem,
      t.typbasetype::text AS base, coalesce(e.typdelim, t.typdelim)::text AS delimiter,
      r.rngsubtype::text AS subtype, m.rngtypid::text AS range,
      (SELECT json_agg(json_build_object('name', a.attname, 'type', a.atttypid::text) ORDER BY a.attnum)
        FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) AS attributes,
      (SELECT string_agg(l.enumlabel, ',' ORDER BY l.enumsortorder) FROM pg_enum l WHERE l.enumtypid = t.oid) AS labels
    FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typinput = 'array_in'::regproc
    LEFT JOIN pg_range r ON r.rngtypid = t.oid LEFT JOIN pg_range m ON m.rngmultitypid = t.oid
    WHERE t.typtype IN ('b', 'e', 'd', 'r', 'm') OR c.relkind = 'c'
      OR t.oid IN (SELECT atttypid FROM pg_attribute WHERE attnum > 0) OR t.typarray IN (SELECT atttypid FROM pg_attribute WHERE attnum > 0)
      OR t.oid IN (SELECT typbasetype FROM pg_type)`
  const byOid = new Map(rows.map((row) => [Number(row.oid), row]))
  const made = new Map<number, ColumnType>()
  const type = (oid: number, depth: number): ColumnType => {
    const known = made.get(oid)
    if (known) return known
    const row = byOid.get(oid)
    if (!row || depth > MAX_DEPTH) return { oid, name: row?.name ?? String(oid), kind: 'base' }
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
    } else if (row.is_array) {
      result = {
        ...base,
        kind: 'array',
        of: of(row.elem),
        ...(row.delimiter === ',' ? {} : { delimiter: row.delimiter }),
      }
    } else result = { ...base, kind: 'base' }
    if (row.labels !== null) result = { ...result, labels: row.labels }
    made.set(oid, result)
    return result
  }
  return (oid) => type(oid, 0)
}
