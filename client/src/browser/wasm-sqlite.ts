import type { Database, PreparedStatement, Sqlite3Static } from '@sqlite.org/sqlite-wasm'
import { ProblemError, sqliteCode } from '../core/problem.ts'
import type { Sqlite, Statements } from '../core/sqlite.ts'
import { checkSingle, mayDo, refused } from '../core/statements.ts'
import type { Row, SqlValue } from '../types.ts'
import { lastHandleError } from './handle-errors.ts'

const CACHED_STATEMENTS = 200
const SQLITE_IOERR = 10
const SQLITE_AUTH = 23

/** Wraps SQLite's wasm build for the core. `fatal` is called when the instance is broken for good. */
export function wrap(sqlite3: Sqlite3Static, database: Database, fatal: (error: Error) => void = () => {}): Sqlite {
  const { capi } = sqlite3
  let judging = false
  capi.sqlite3_set_authorizer(
    database,
    (_, action, table, __, ___, by) =>
      !judging || mayDo(action, table === 0 ? null : table, by === 0 ? null : by) ? 0 : 1,
    0,
  )

  function statements(own: boolean): Statements & { finalize(): void } {
    const prepared = new Map<string, PreparedStatement>()

    function prepare(sql: string): PreparedStatement {
      const known = prepared.get(sql)
      if (known) return known
      const statement = database.prepare(sql)
      try {
        checkSingle(sql, capi.sqlite3_sql(statement))
      } catch (error) {
        statement.finalize()
        throw error
      }
      for (const [oldest, old] of prepared) {
        if (prepared.size < CACHED_STATEMENTS) break
        old.finalize()
        prepared.delete(oldest)
      }
      prepared.set(sql, statement)
      return statement
    }

    /** Runs a statement. It is judged while it is compiled, which SQLite repeats when the schema has changed. */
    function run<T>(sql: string, params: readonly SqlValue[], work: (statement: PreparedStatement) => T): T {
      judging = !own
      try {
        const statement = prepare(sql)
        try {
          if (params.length > 0) statement.bind([...params])
          return work(statement)
        } finally {
          statement.reset(true)
        }
      } catch (error) {
        throw translated(error, fatal)
      } finally {
        judging = false
      }
    }

    return {
      all: (sql, params = []) =>
        run(sql, params, (statement) => {
          const rows: Row[] = []
          while (statement.step()) {
            const row: Row = {}
            for (const [i, name] of statement.getColumnNames().entries()) row[name] = statement.get(i) as SqlValue
            rows.push(row)
          }
          return rows
        }),
      run: (sql, params = []) =>
        run(sql, params, (statement) => {
          while (statement.step());
          return database.changes()
        }),
      finalize() {
        for (const statement of prepared.values()) statement.finalize()
        prepared.clear()
      },
    }
  }

  const own = statements(true)
  const application = statements(false)
  return {
    all: own.all,
    run: own.run,
    application,
    exec(script) {
      try {
        database.exec(script)
      } catch (error) {
        throw translated(error, fatal)
      }
    },
    close() {
      own.finalize()
      application.finalize()
      database.close()
    },
  }
}

function translated(error: unknown, fatal: (error: Error) => void): unknown {
  if (error instanceof WebAssembly.RuntimeError) fatal(error)
  const code = sqliteCode(error)
  if (code === SQLITE_AUTH) return refused(error)
  // The pool of file handles reports every failure as an I/O error (sqlite-wasm 3.54).
  const full = code === SQLITE_IOERR && lastHandleError() === 'QuotaExceededError'
  return full ? new ProblemError('storage_full', 'there is no space left for this site', { cause: error }) : error
}
