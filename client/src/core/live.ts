import type { Row, Schema, SqlParam } from '../types.ts'
import { guarded } from './listeners.ts'

interface LiveQuery {
  sql: string
  params: readonly SqlParam[]
  tables: Set<string>
  last: string | null
  callback: (rows: Row[]) => void
  onError: (error: Error) => void
}

export interface LiveOptions {
  /** Reads; may refuse. */
  rows(sql: string, params: readonly SqlParam[]): Row[]
  /** Runs `work` when nobody's transaction is open: what is not committed is never shown. */
  turn(work: () => void): Promise<void>
}

/** Queries that run again when a table they read has changed, and call back when their rows differ. */
export class LiveQueries {
  readonly #options: LiveOptions
  readonly #schema: Schema
  readonly #queries = new Set<LiveQuery>()

  constructor(schema: Schema, options: LiveOptions) {
    this.#schema = schema
    this.#options = options
  }

  add(
    sql: string,
    params: readonly SqlParam[],
    callback: (rows: Row[]) => void,
    onError: (error: Error) => void,
  ): () => void {
    // By name in the text: one table too many costs a query that finds nothing new.
    const tables = new Set(
      Object.keys(this.#schema.tables).filter((table) => new RegExp(`\\b${table}\\b`, 'i').test(sql)),
    )
    const query = { sql, params, tables, last: null, callback, onError }
    this.#queries.add(query)
    this.#options.turn(() => this.#run(query)).catch((error: unknown) => this.#failed(query, error))
    return () => void this.#queries.delete(query)
  }

  /** The caller has the turn, and no transaction is open. */
  changed(tables: ReadonlySet<string>): void {
    for (const query of [...this.#queries]) if ([...query.tables].some((table) => tables.has(table))) this.#run(query)
  }

  /** Who may read has changed. */
  async refresh(): Promise<void> {
    await this.#options.turn(() => {
      for (const query of [...this.#queries]) this.#run(query)
    })
  }

  #run(query: LiveQuery): void {
    if (!this.#queries.has(query)) return
    try {
      const rows = this.#options.rows(query.sql, query.params)
      const text = JSON.stringify(rows, (_, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value))
      if (text === query.last) return
      query.last = text
      guarded(() => query.callback(rows))
    } catch (error) {
      this.#failed(query, error)
    }
  }

  #failed(query: LiveQuery, error: unknown): void {
    if (!this.#queries.has(query)) return
    query.last = null
    guarded(() => query.onError(error instanceof Error ? error : new Error(String(error))))
  }
}
