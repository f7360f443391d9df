import { bindable, readOnly, type Sqlite } from './sqlite.ts'
import type { Row, Schema, SqlParam } from '../types.ts'

interface LiveQuery {
  sql: string
  params: readonly SqlParam[]
  tables: Set<string>
  last: string | null
  callback: (rows: Row[]) => void
  onError: (error: Error) => void
}

/** Queries that run again when a table they read has changed, and call back when their rows differ. */
export class LiveQueries {
  readonly #db: Sqlite
  readonly #schema: Schema
  readonly #queries = new Set<LiveQuery>()

  constructor(db: Sqlite, schema: Schema) {
    this.#db = db
    this.#schema = schema
  }

  add(sql: string, params: readonly SqlParam[], callback: (rows: Row[]) => void, onError: (error: Error) => void): () => void {
    // By name in the text: one table too many costs a query that finds nothing new.
    const tables = new Set(Object.keys(this.#schema.tables).filter((table) => new RegExp(`\\b${table}\\b`, 'i').test(sql)))
    const query = { sql, params, tables, last: null, callback, onError }
    this.#queries.add(query)
    queueMicrotask(() => this.#run(query))
    return () => void this.#queries.delete(query)
  }

  changed(tables: ReadonlySet<string>): void {
    for (const query of [...this.#queries]) if ([...query.tables].some((table) => tables.has(table))) this.#run(query)
  }

  #run(query: LiveQuery): void {
    if (!this.#queries.has(query)) return
    try {
      const rows = readOnly(this.#db, () => this.#db.all(query.sql, bindable(query.params)))
      const text = JSON.stringify(rows, (_, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value))
      if (text === query.last) return
      query.last = text
      query.callback(rows)
    } catch (error) {
      query.onError(error instanceof Error ? error : new Error(String(error)))
    }
  }
}
