import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { checkSingle } from '../core/statements.ts'
import type { SqlValue } from '../types.ts'
import type { Params, Sqlite, Statement } from './sqlite.ts'

const KEPT_STATEMENTS = 300

/** `node:sqlite` as the core wants it. The caller has opened and set up the connection. */
export function nodeSqlite(db: DatabaseSync): Sqlite {
  const prepared = new Map<string, Statement>()

  return {
    prepare(sql) {
      const known = prepared.get(sql)
      if (known) return known
      const native = db.prepare(sql)
      checkSingle(sql, native.sourceSQL)
      const statement = wrap(native)
      for (const oldest of prepared.keys()) {
        if (prepared.size < KEPT_STATEMENTS) break
        prepared.delete(oldest)
      }
      prepared.set(sql, statement)
      return statement
    },
    exec: (script) => db.exec(script),
    transaction(work) {
      db.exec('BEGIN IMMEDIATE')
      try {
        const result = work()
        db.exec('COMMIT')
        return result
      } catch (error) {
        // On some errors (disk full, I/O) SQLite has ended it by itself.
        if (db.isTransaction) db.exec('ROLLBACK')
        throw error
      }
    },
    define(name, call) {
      db.function(name, { deterministic: true, useBigIntArguments: true }, (value) => call(narrowed(value as SqlValue)))
    },
    close() {
      prepared.clear()
      db.close()
    },
  }
}

function wrap(native: StatementSync): Statement {
  native.setReturnArrays(true)
  native.setReadBigInts(true)
  return {
    run: (params: Params = []) => Number(native.run(...params.map(widened)).changes),
    all: (params: Params = []) => (native.all(...params.map(widened)) as unknown as SqlValue[][]).map((row) => row.map(narrowed)),
  }
}

/** node:sqlite binds every number as a real (24.21): a column that converts nothing would hold 1.0. */
const widened = (value: SqlValue): SqlValue => (Number.isSafeInteger(value) ? BigInt(value as number) : value)

function narrowed(value: SqlValue): SqlValue {
  return typeof value === 'bigint' && Number.isSafeInteger(Number(value)) ? Number(value) : value
}
