import type { Database, SqlRow } from './database.ts'

/** The storage of a Durable Object. */
export function durableDatabase(storage: DurableObjectStorage): Database {
  return {
    all: (sql, ...params) => storage.sql.exec<SqlRow>(sql, ...params).toArray(),
    run: (sql, ...params) => void storage.sql.exec(sql, ...params),
    transaction: (work) => storage.transactionSync(work),
  }
}
