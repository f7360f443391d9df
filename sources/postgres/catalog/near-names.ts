import type { Sql } from 'postgres'
import { closest } from '../../../protocol/closest.ts'
import type { TableName } from '../../../protocol/tables.ts'

/** More names than this are not looked through. */
const MOST_NAMES = 20_000

/** The question to put behind a name that is not there; '' when none is like it. */
export type Meant = (name: TableName) => string

/** Which tables may have been meant by names that the database has not: of the same name in another schema, or of a similar one in the same. */
export async function meantTables(sql: Sql, missing: readonly TableName[]): Promise<Meant> {
  if (missing.length === 0) return () => ''
  const names = await sql<TableName[]>`
    SELECT n.nspname AS schema, c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_'
    ORDER BY n.nspname, c.relname LIMIT ${MOST_NAMES}`
  return ({ schema, name }) => {
    const elsewhere = names.find((each) => each.name === name)
    const ofSchema = names.filter((each) => each.schema === schema).map((each) => each.name)
    const near = elsewhere ? null : closest(name, ofSchema)
    if (elsewhere) return `did you mean ${elsewhere.schema}.${name}?`
    return near === null ? '' : `did you mean ${schema}.${near}?`
  }
}

/** Names that the sync config says, and that are not in the database. */
export const missingNames = (names: readonly TableName[], found: readonly (TableName & { named: boolean })[]): TableName[] =>
  names.filter(
    ({ schema, name }) => !name.endsWith('%') && !found.some((each) => each.named && each.schema === schema && each.name === name),
  )

/** With the question behind it. */
export const noSuchTable = (meant: string): string => `there is no such table in the database${meant === '' ? '' : `: ${meant}`}`
