import type { FromTable, SelectFromStatement } from 'pgsql-ast-parser'
import type { TablePattern } from '../../plan/plan.ts'
import type { Sql } from '../../parse/sql.ts'
import { warnLowerCase } from './scope.ts'

export interface SourceTable {
  pattern: TablePattern
  /** The name that may qualify columns. */
  name: string
  alias: string | undefined
  /** The table on the client, or null for the source table's own name. */
  output: string | null
  node: FromTable
}

/** `t`, `schema.t`, `"connection.schema".t`, `"prefix%"`. */
export function tablePattern(sql: Sql, node: FromTable, defaultSchema: string): TablePattern | null {
  const { schema: qualifier, name } = node.name
  const dot = qualifier?.indexOf('.') ?? -1
  const connection = qualifier !== undefined && dot >= 0 ? qualifier.slice(0, dot) : 'default'
  const schema = qualifier === undefined ? defaultSchema : qualifier.slice(dot + 1)
  const wildcard = name.endsWith('%')
  const stem = wildcard ? name.slice(0, -1) : name
  if (stem.includes('%') || schema.includes('%')) {
    sql.error('wildcard', 'A wildcard is one % at the end of the table name.', node)
    return null
  }
  return { connection, schema, name: stem, wildcard }
}

/** The one table of a query of bucket definitions, streams of edition 2 and events. */
export function singleTable(sql: Sql, select: SelectFromStatement, defaultSchema: string): SourceTable | null {
  const [from, ...more] = select.from ?? []
  if (!from || more.length > 0 || from.type !== 'table') {
    sql.error(
      'one-table',
      from?.type === 'statement'
        ? 'A sub-select in FROM is not supported here.'
        : 'The query must select from exactly one table.',
      from ?? select,
    )
    return null
  }
  warnLowerCase(sql, { name: from.name.name, ...(from.name._location ? { _location: from.name._location } : {}) })
  const pattern = tablePattern(sql, from, defaultSchema)
  if (!pattern) return null
  const alias = from.name.alias
  return {
    pattern,
    name: alias ?? from.name.name,
    alias,
    output: alias ?? (pattern.wildcard ? null : pattern.name),
    node: from,
  }
}
