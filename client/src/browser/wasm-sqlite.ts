import sqlite3InitModule, { type Database, type PreparedStatement } from '@sqlite.org/sqlite-wasm'
import type { Sqlite } from '../core/sqlite.ts'
import type { Row, SqlValue } from '../types.ts'

const CACHED_STATEMENTS = 200
/** The worker of a tab that has just gone holds its files for a moment. */
const OPEN_TRIES = 20
const OPEN_WAIT_MS = 100

/** SQLite in this worker (`sqlite3.wasm` lies beside its script), in a file of the origin's private file system; in memory where there is none (private windows, old browsers). */
export async function openWasmSqlite(name: string): Promise<{ db: Sqlite; storage: 'opfs' | 'memory' }> {
  const sqlite3 = await sqlite3InitModule()
  if (typeof navigator.storage?.getDirectory !== 'function') return { db: wrap(new sqlite3.oo1.DB(':memory:')), storage: 'memory' }
  for (let attempt = 1; ; attempt++) {
    try {
      const pool = await sqlite3.installOpfsSAHPoolVfs({ name: `rockpool-${name}`, directory: `/rockpool-${name}` })
      const database = new pool.OpfsSAHPoolDb(`/${name}.db`)
      database.exec('PRAGMA locking_mode = exclusive; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY')
      return { db: wrap(database), storage: 'opfs' }
    } catch (error) {
      if (attempt >= OPEN_TRIES) {
        console.warn('rockpool: the private file system cannot be used; nothing survives a reload', error)
        return { db: wrap(new sqlite3.oo1.DB(':memory:')), storage: 'memory' }
      }
      await new Promise((resolve) => setTimeout(resolve, OPEN_WAIT_MS))
    }
  }
}

function wrap(database: Database): Sqlite {
  const statements = new Map<string, PreparedStatement>()

  function prepare(sql: string): PreparedStatement {
    const known = statements.get(sql)
    if (known) return known
    const statement = database.prepare(sql)
    for (const [oldest, old] of statements) {
      if (statements.size < CACHED_STATEMENTS) break
      old.finalize()
      statements.delete(oldest)
    }
    statements.set(sql, statement)
    return statement
  }

  function bound(sql: string, params: readonly SqlValue[]): PreparedStatement {
    const statement = prepare(sql)
    if (params.length > 0) statement.bind([...params])
    return statement
  }

  return {
    all(sql, params = []) {
      const statement = bound(sql, params)
      try {
        const rows: Row[] = []
        while (statement.step()) {
          const row: Row = {}
          for (const [i, name] of statement.getColumnNames().entries()) row[name] = statement.get(i) as SqlValue
          rows.push(row)
        }
        return rows
      } finally {
        statement.reset(true)
      }
    },
    run(sql, params = []) {
      const statement = bound(sql, params)
      try {
        while (statement.step());
        return database.changes()
      } finally {
        statement.reset(true)
      }
    },
    exec(script) {
      database.exec(script)
    },
    close() {
      for (const statement of statements.values()) statement.finalize()
      statements.clear()
      database.close()
    },
  }
}
