import type { Sql } from 'postgres'
import { closest } from '../../../protocol/closest.ts'
import type { TableName } from '../../../protocol/tables.ts'

/** Above this number of names no similar one is searched for. */
const MOST_NAMES = 20_000

/** Returns the question that follows a missing name in a message, or '' when no name is similar. */
export type Meant = (name: TableName) => string

/**
 * Finds the tables that missing names may have meant: those with the same name in another schema, or a similar name in
 * the same schema.
 */
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

/** Returns the names in the sync config that are not in the database. */
export const missingNames = (
  names: readonly TableName[],
  found: readonly (TableName & { named: boolean })[],
): TableName[] =>
  names.filter(
    ({ schema, name }) =>
      !name.endsWith('%') && !found.some((each) => each.named && each.schema === schema && each.name === name),
  )

/** Returns the message for a missing table, followed by the question. */
export const noSuchTable = (meant: string): string =>
  `there is no such table in the database${meant === '' ? '' : `: ${meant}`}`
