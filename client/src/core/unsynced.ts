import type { Schema } from '../types.ts'
import { literal, type Sqlite } from './sqlite.ts'

/**
 * So many rows of a table are looked at: a column that none of them has is not looked for in all the others, while
 * everything waits.
 */
export const LOOK_ROWS = 1_000

/**
 * What of the schema never comes from the server: a column that no query selects, or by another name, is NULL for ever.
 */
export class Unsynced {
  readonly #db: Sqlite
  readonly #schema: Schema
  readonly #told = new Set<string>()
  /** Tables of which no row had come. */
  #empty: string[] = []

  constructor(db: Sqlite, schema: Schema) {
    this.#db = db
    this.#schema = schema
  }

  /**
   * After a whole checkpoint; the caller has the turn. Answers `table.column`, and `table` of which no row has come,
   * and tells on the console what is new. `anew`: the checkpoint is the first of its connection. Else nothing is looked
   * at, and null answered, unless a table has got its first rows.
   */
  look(anew: boolean): string[] | null {
    if (!anew && !this.#empty.some((table) => this.#hasRows(table))) return null
    const tables = Object.entries(this.#schema.tables)
    this.#empty = tables.flatMap(([table]) => (this.#hasRows(table) ? [] : [table]))
    const columns = tables.flatMap(([table, { columns }]) =>
      this.#empty.includes(table)
        ? []
        : Object.keys(columns).flatMap((column) => (this.#has(table, column) ? [] : [`${table}.${column}`])),
    )
    const news = (names: readonly string[]): string => names.filter((name) => !this.#told.has(name)).join(', ')
    const [missing, empty] = [news(columns), news(this.#empty)]
    if (missing)
      console.warn(
        `rockpool: no row from the server has ${missing}: does a query of the sync config select it, by this name?`,
      )
    if (empty)
      console.warn(
        `rockpool: no row of ${empty} has come from the server: it is empty, or in no query of the sync config`,
      )
    const all = [...columns, ...this.#empty]
    for (const name of all) this.#told.add(name)
    return all
  }

  #hasRows(table: string): boolean {
    return this.#db.all('SELECT 1 FROM rp_ops WHERE type = ? LIMIT 1', [table]).length > 0
  }

  /** The server sends a NULL as null. Bytes it leaves out. */
  #has(table: string, column: string): boolean {
    const rows = `SELECT data FROM rp_ops WHERE type = ? LIMIT ${LOOK_ROWS}`
    return (
      this.#db.all(`SELECT 1 FROM (${rows}) WHERE json_type(data, ${literal(`$."${column}"`)}) IS NOT NULL LIMIT 1`, [
        table,
      ]).length > 0
    )
  }
}
