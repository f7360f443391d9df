import type { Sql } from 'postgres'
import { optionOf, TRUTHS, type Truth } from './source.ts'

/** Bucket without its hash, `items["a"]` → its rows as canonical texts, sorted. Buckets without rows are left out. */
export type Contents = Map<string, string[]>

export interface Known {
  contents: Contents
  /**
   * Names of buckets, without their parameters, whose table is not there: their rows stay as they were, whatever
   * becomes of the table meanwhile.
   */
  away: ReadonlySet<string>
}

/**
 * What the sync config selects, by plain SQL, all in one snapshot. `publication` null: Rockpool's own, to which every
 * table belongs that is there.
 */
export async function truthOf(sql: Sql, publication: string | null): Promise<Known> {
  return sql.begin('isolation level repeatable read read only', async (tx) => {
    const contents: Contents = new Map()
    const away = new Set<string>()
    const published = await tx<{ name: string }[]>`
      SELECT schemaname || '.' || tablename AS name FROM pg_publication_tables WHERE pubname = ${publication}`
    const isPublished = (name: string) => publication === null || published.some((row) => row.name === name)
    const tables = await tx<{ name: string; parts: string[] }[]>`
      SELECT n.nspname || '.' || c.relname AS name,
        ARRAY(SELECT pn.nspname || '.' || p.relname FROM pg_partition_tree(c.oid) t JOIN pg_class p ON p.oid = t.relid JOIN pg_namespace pn ON pn.oid = p.relnamespace) AS parts
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')`
    const there = (name: string) => {
      const table = tables.find((each) => each.name === name)
      return table !== undefined && [name, ...table.parts].some(isPublished)
    }
    const add = async (truth: Truth) => {
      if (!tables.some(({ name }) => name === truth.table)) away.add(truth.name)
      if (!there(truth.table)) return
      const { distinct, columns, table, where } = truth
      const rows = await rowsOf(
        tx,
        `SELECT ${distinct ? 'DISTINCT ' : ''}${columns} FROM ${table} ${where ? `WHERE ${where}` : ''}`,
      )
      for (const row of rows) {
        const by = truth.by === undefined ? [] : [row[truth.by]]
        if (by.includes(null)) continue
        put(contents, `${truth.name}${JSON.stringify(by)}`, row)
      }
    }
    for (const truth of TRUTHS) await add(truth)
    for (const { name } of tables) {
      if (/^public\.logs_[a-z]$/.test(name)) await add({ name: 'logs_%', table: name, columns: '*' })
    }
    if (there('public.members')) {
      for (const row of await rowsOf(tx, 'SELECT u, grp FROM public.members'))
        put(contents, `members${JSON.stringify([row.u])}`, [row.grp])
    }
    for (const rows of contents.values()) rows.sort()
    return { contents, away }
  })
}

function put(contents: Contents, bucket: string, row: unknown): void {
  const text = canonical(row)
  const rows = contents.get(bucket)
  if (rows) rows.push(text)
  else contents.set(bucket, [text])
}

/** Equal for equal values, whatever the order of the columns. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return JSON.stringify(value)
  return JSON.stringify(Object.entries(value as Record<string, unknown>).sort(([a], [b]) => (a < b ? -1 : 1)))
}

/**
 * Rows as the sync config gives values out: integers and floats as numbers, booleans as 0 and 1, the rest as Postgres
 * prints it.
 */
async function rowsOf(sql: Pick<Sql, 'unsafe'>, statement: string): Promise<Record<string, string | number | null>[]> {
  const result = await sql.unsafe(statement).raw()
  const columns = result.columns
  return result.map((row: (Uint8Array | null)[]) =>
    Object.fromEntries(
      columns.map((column: { name: string; type: number }, i: number) => {
        const bytes = row[i]
        const text = bytes ? new TextDecoder().decode(bytes) : null
        return [column.name, text === null ? null : valueOf(text, column.type)]
      }),
    ),
  )
}

function valueOf(text: string, type: number): string | number {
  if ([20, 21, 23, 700, 701].includes(type)) return Number(text)
  if (type === 16) return text === 't' ? 1 : 0
  return text
}

/** The first differences, for people. */
export function differences(held: Contents, wanted: Contents): string[] {
  const found: string[] = []
  for (const bucket of [...new Set([...held.keys(), ...wanted.keys()])].sort()) {
    const have = held.get(bucket) ?? []
    const want = wanted.get(bucket) ?? []
    if (JSON.stringify(have) === JSON.stringify(want)) continue
    const extra = without(have, want)
    const missing = without(want, have)
    found.push(
      `${bucket}: ${have.length} rows, wanted ${want.length}; extra ${short(extra)}; missing ${short(missing)}`,
    )
  }
  return found
}

function without(list: readonly string[], other: readonly string[]): string[] {
  const counts = new Map<string, number>()
  for (const text of other) counts.set(text, (counts.get(text) ?? 0) + 1)
  return list.filter((text) => {
    const left = counts.get(text) ?? 0
    counts.set(text, left - 1)
    return left <= 0
  })
}

const short = (list: readonly string[]) =>
  `${list.length} [${list
    .slice(0, 3)
    .map((text) => text.replace(/([0-9a-f]{32}){2,}/g, '$1…').slice(0, 300))
    .join(', ')}]`

/** Without the buckets whose table is away. */
export function withoutAway(all: Contents, away: ReadonlySet<string>): Contents {
  return new Map([...all].filter(([bucket]) => !away.has(bucket.slice(0, bucket.indexOf('[')))))
}

/** Without the buckets of optional streams that are not among these. */
export function withOptions(all: Contents, options: ReadonlySet<string | null>): Contents {
  return new Map([...all].filter(([bucket]) => optionOf(bucket) === null || options.has(optionOf(bucket))))
}

/** Of all buckets those of the client: its groups of `fulls` follow from its memberships. */
export function clientsOf(all: Contents): Contents {
  const groups = (all.get('members["u1"]') ?? []).map((text) => (JSON.parse(text) as string[])[0])
  return new Map(
    [...all].filter(([name]) => {
      if (name.startsWith('members[')) return false
      if (!name.startsWith('fulls[')) return true
      return groups.includes((JSON.parse(name.slice('fulls'.length)) as string[])[0])
    }),
  )
}
