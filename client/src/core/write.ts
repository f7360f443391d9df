import type { SqlParam, WriteTransaction } from '../types.ts'
import * as outbox from './outbox.ts'
import { bindable, rollback, type Sqlite } from './sqlite.ts'
import { WriteLimits } from './write-limits.ts'

/** A local transaction that does nothing for so long is rolled back: everything else waits for it. */
export const WRITE_PAUSE_MS = 10_000
/** And one that is not over by then, whatever it does. */
export const WRITE_TOTAL_MS = 120_000

/**
 * Runs one local transaction. The caller has the turn. `request`: see `outbox.wasStored`. Answers the tables that
 * changed.
 */
export async function localWrite<T>(
  db: Sqlite,
  change: (tx: WriteTransaction) => T | Promise<T>,
  request: string | null,
): Promise<{ result: T; changed: Set<string> }> {
  db.run('BEGIN IMMEDIATE')
  const limits = new WriteLimits({ pauseMs: WRITE_PAUSE_MS, totalMs: WRITE_TOTAL_MS })
  const execute = (sql: string, params: readonly SqlParam[] = []): number => db.application.run(sql, bindable(params))
  try {
    const id = outbox.beginWrite(db, request)
    const tx: WriteTransaction = {
      execute: (sql, params) => limits.statement(() => ({ changes: execute(sql, params) })),
      executeBatch: (sql, lists) =>
        limits.statement(() => ({ changes: lists.reduce((sum, params) => sum + execute(sql, params), 0) })),
      query: <R extends object>(sql: string, params: readonly SqlParam[] = []) =>
        limits.statement(() => db.application.all(sql, bindable(params)) as R[]),
    }
    const result = await Promise.race([change(tx), limits.over])
    const changed = outbox.endWrite(db, id)
    db.run('COMMIT')
    return { result, changed }
  } catch (error) {
    rollback(db)
    throw error
  } finally {
    limits.end()
  }
}
