import type { Database, SqlRow } from './database.ts'

export interface DurableDatabase extends Database {
  /**
   * Rows written since this object started, as the platform bills them: index entries count, an upsert that changes
   * nothing does not.
   */
  readonly rowsWritten: number
}

/** Returns the storage of a Durable Object as a `Database`. */
export function durableDatabase(storage: DurableObjectStorage): DurableDatabase {
  let rowsWritten = 0
  return {
    get rowsWritten() {
      return rowsWritten
    },
    all: (sql, ...params) => storage.sql.exec<SqlRow>(sql, ...params).toArray(),
    run(sql, ...params) {
      rowsWritten += storage.sql.exec(sql, ...params).rowsWritten
    },
    transaction: (work) => storage.transactionSync(work),
  }
}
