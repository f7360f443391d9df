import type { Sqlite } from '../../sqlite/sqlite.ts'
import { bindable } from '../sqlite.ts'
import { beginWrite, endWrite } from '../store/local.ts'
import { WriteLimits } from '../write-limits.ts'
import type { LocalTransaction } from './port.ts'

/** A local transaction that does nothing for so long is rolled back: everything else waits for it. */
export const PAUSE_MS = 1_000
/** And one that is not over by then, whatever it does. */
export const TOTAL_MS = 5_000

export interface LocalWrite {
  id: string
  /** How the caller names it, for whoever asks later what became of it. */
  call: string | null
  /** Milliseconds since 1970. */
  now: number
  /** What a repeat of the call is told, asked at the end; null: nothing beside the id. */
  answer: (() => number[]) | null
  /** Looked at last in the same step as the COMMIT. */
  signal?: AbortSignal
}

/**
 * Runs one local transaction. The caller has the turn. Throws `write_limit` when it takes too long, and `too_large`;
 * then nothing is stored.
 */
export async function localWrite<T>(
  db: Sqlite,
  { id, call, now, answer, signal }: LocalWrite,
  change: (tx: LocalTransaction) => T | Promise<T>,
): Promise<{ value: T; changed: Set<string> }> {
  signal?.throwIfAborted()
  const limits = new WriteLimits({ pauseMs: PAUSE_MS, totalMs: TOTAL_MS })
  db.exec('BEGIN IMMEDIATE')
  try {
    const seq = beginWrite(db, id, now)
    const tx: LocalTransaction = {
      execute: (sql, params = []) =>
        limits.statement(() => ({ changes: db.prepareForApplication(sql).run(bindable(params)) })),
      query: (sql, params = []) =>
        limits.statement(() => {
          const statement = db.prepareForApplication(sql)
          const rows = statement.all(bindable(params))
          return { rows, columns: statement.columns() }
        }),
    }
    const value = await Promise.race([change(tx), limits.over])
    signal?.throwIfAborted()
    const changed = endWrite(db, seq, call, answer?.() ?? null)
    db.exec('COMMIT')
    return { value, changed }
  } catch (error) {
    rollback(db)
    throw error
  } finally {
    limits.end()
  }
}

/** On some errors (disk full, I/O) SQLite has ended the transaction by itself. */
function rollback(db: Sqlite): void {
  try {
    db.exec('ROLLBACK')
  } catch {
    // There is none.
  }
}
