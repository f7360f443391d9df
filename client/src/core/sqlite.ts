import type { Row, SqlParam, SqlValue } from '../types.ts'

export { identifier, integer, literal, text } from '../sqlite/sqlite.ts'

export interface Statements {
  /** All rows of one statement. Integers beyond 2^53 come as bigints. */
  all(sql: string, params?: readonly SqlValue[]): Row[]
  /** Runs one statement, answers the number of rows it changed. */
  run(sql: string, params?: readonly SqlValue[]): number
}

/** A synchronous SQLite connection: the only thing that the core needs of its platform. Statements stay prepared. */
export interface Sqlite extends Statements {
  /**
   * The same for statements that the application wrote: one at a time, and only rows of its own tables
   * (`statements.ts`).
   */
  readonly application: Statements
  /** Runs a script without parameters. */
  exec(script: string): void
  close(): void
}

/** Runs `work` in one transaction; whatever it throws rolls everything back. */
export function transaction<T>(db: Sqlite, work: () => T): T {
  db.run('BEGIN IMMEDIATE')
  let result: T
  try {
    result = work()
    db.run('COMMIT')
  } catch (error) {
    rollback(db)
    throw error
  }
  return result
}

/**
 * SQLite ends a transaction by itself on some errors (disk full, I/O); a ROLLBACK then has nothing to do and says so.
 */
export function rollback(db: Sqlite): void {
  try {
    db.run('ROLLBACK')
  } catch (error) {
    if (!String(error).includes('no transaction is active')) throw error
  }
}

/** Runs `work` with every statement refused that would change the database. */
export function readOnly<T>(db: Sqlite, work: () => T): T {
  db.run('PRAGMA query_only = 1')
  try {
    return work()
  } finally {
    db.run('PRAGMA query_only = 0')
  }
}

export function bindable(params: readonly SqlParam[]): SqlValue[] {
  return params.map((value) => (value === true ? 1 : value === false ? 0 : value))
}
