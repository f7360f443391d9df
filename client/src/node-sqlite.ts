import { DatabaseSync, type StatementSync } from 'node:sqlite'
import type { Sqlite } from './core/sqlite.ts'
import type { Row, SqlValue } from './types.ts'

const CACHED_STATEMENTS = 200

/** `node:sqlite` as the core wants it. `path` is a file or `:memory:`. */
export function openNodeSqlite(path: string): Sqlite {
  const db = new DatabaseSync(path)
  db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY; PRAGMA busy_timeout = 5000')
  const statements = new Map<string, StatementSync>()

  function prepare(sql: string): StatementSync {
    let statement = statements.get(sql)
    if (statement) return statement
    statement = db.prepare(sql)
    if (statements.size >= CACHED_STATEMENTS) {
      for (const oldest of statements.keys()) {
        statements.delete(oldest)
        break
      }
    }
    statements.set(sql, statement)
    return statement
  }

  return {
    all(sql, params = []) {
      const statement = prepare(sql)
      try {
        return plain(statement.all(...params))
      } catch (error) {
        // Integers beyond 2^53 throw unless they are asked for as bigints, which makes bigints of all of them.
        if (!isOutOfRange(error)) throw error
        statement.setReadBigInts(true)
        try {
          return plain(statement.all(...params)).map(narrowBigInts)
        } finally {
          statement.setReadBigInts(false)
        }
      }
    },
    run(sql, params = []) {
      return Number(prepare(sql).run(...params).changes)
    },
    exec(script) {
      db.exec(script)
    },
    close() {
      statements.clear()
      db.close()
    },
  }
}

/** node:sqlite returns objects without a prototype, which compare as different from those of a browser. */
function plain(rows: Record<string, SqlValue>[]): Row[] {
  return rows.map((row) => ({ ...row }))
}

function narrowBigInts(row: Row): Row {
  for (const [name, value] of Object.entries(row)) {
    if (typeof value === 'bigint' && Number.isSafeInteger(Number(value))) row[name] = Number(value)
  }
  return row
}

function isOutOfRange(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ERR_OUT_OF_RANGE'
}
