import { mayDo } from '../core/statements.ts'

// What SQLite says about a statement of the application while it compiles it (the authorizer): whether it is allowed,
// whether it writes, what it reads. The numbers are SQLite's own action codes, which never change
// (https://www.sqlite.org/c3ref/c_alter_table.html).

const DELETE = 9
const INSERT = 18
const READ = 20
const UPDATE = 23

/** Tables that a statement reads with the columns of them; null: every column. */
export type Sources = ReadonlyMap<string, ReadonlySet<string> | null>

export class Judge {
  readonly #sources = new Map<string, Set<string> | null>()
  writes = false

  /**
   * SQLite compiles a statement again when the schema has changed, and tells everything again: what was found before
   * stays, because too much is harmless.
   */
  get sources(): Sources {
    return this.#sources
  }

  /** As SQLite asks; `by`: the trigger that does it, or the common table expression that reads. False: refused. */
  allows(action: number, table: string | null, column: string | null, by: string | null): boolean {
    if (!mayDo(action, table, by)) return false
    if (action === READ && table !== null) this.#read(table, column ?? '')
    else if (action === INSERT || action === UPDATE || action === DELETE) this.writes = true
    return true
  }

  /** `count(*)` reads no column, and depends on every row. */
  #read(table: string, column: string): void {
    const known = this.#sources.get(table)
    if (known === null) return
    if (column === '' || /^rowid$/i.test(column)) this.#sources.set(table, null)
    else if (known) known.add(column)
    else this.#sources.set(table, new Set([column]))
  }
}
