import type { Row, SqlParam } from '../types.ts'

/** A statement with its parameters. `T` is what the application says its rows are. */
export interface Sql<T extends object = Row> {
  readonly sql: string
  readonly params: readonly SqlParam[]
  /** Only for the compiler. */
  readonly '~row'?: T
}

/** Values become parameters, so nothing in them is ever read as SQL. A name of a table or column is none. */
export function sql<T extends object = Row>(parts: TemplateStringsArray, ...params: readonly SqlParam[]): Sql<T> {
  return { sql: parts.join('?'), params }
}
