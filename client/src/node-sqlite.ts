import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { ProblemError, sqliteCode } from './core/problem.ts'
import type { Sqlite, Statements } from './core/sqlite.ts'
import { checkSingle, mayDo, mayRun, refused } from './core/statements.ts'
import type { Row, SqlValue } from './types.ts'

const CACHED_STATEMENTS = 200
/** Milliseconds to wait for another process that is just closing the file. */
const BUSY_MS = 5_000

const SQLITE_BUSY = 5
const SQLITE_AUTH = 23

/**
 * Wraps `node:sqlite` for the core. `path` is a file or `:memory:`. The file is locked for this process while it is
 * open, because two engines on one file would both number, upload and apply. `synchronous = FULL`, because with NORMAL
 * a power cut undoes the last commits of a WAL, and with them numbers of transactions that were uploaded.
 */
export function openNodeSqlite(path: string): Sqlite {
  const db = new DatabaseSync(path)
  try {
    db.exec(`PRAGMA busy_timeout = ${BUSY_MS}; PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL`)
    db.exec('PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY')
    db.exec('BEGIN EXCLUSIVE; COMMIT')
  } catch (error) {
    db.close()
    if (sqliteCode(error) !== SQLITE_BUSY) throw error
    throw new ProblemError('storage_locked', `another process has ${path} open`, { cause: error })
  }
  // Node has an authorizer since 24.10.
  const canJudge = typeof db.setAuthorizer === 'function'
  let judging = false
  if (canJudge) db.setAuthorizer((action, table, _, __, by) => (!judging || mayDo(action, table, by) ? 0 : 1))

  function statements(own: boolean): Statements & { clear(): void } {
    const prepared = new Map<string, StatementSync>()

    function prepare(sql: string): StatementSync {
      let statement = prepared.get(sql)
      if (statement) return statement
      if (!own && !canJudge && !mayRun(sql)) throw refused()
      statement = db.prepare(sql)
      checkSingle(sql, statement.sourceSQL)
      if (prepared.size >= CACHED_STATEMENTS) {
        for (const oldest of prepared.keys()) {
          prepared.delete(oldest)
          break
        }
      }
      prepared.set(sql, statement)
      return statement
    }

    /** Judges a statement while it runs too, because SQLite compiles it again when the schema has changed. */
    function judged<T>(work: () => T): T {
      judging = !own
      try {
        return work()
      } catch (error) {
        throw sqliteCode(error) === SQLITE_AUTH ? refused(error) : error
      } finally {
        judging = false
      }
    }

    return {
      all: (sql, params = []) =>
        judged(() => {
          const statement = prepare(sql)
          try {
            return plain(statement.all(...params))
          } catch (error) {
            // Integers beyond 2^53 throw unless they are read as bigints, which makes all integers bigints.
            if (!isOutOfRange(error)) throw error
            statement.setReadBigInts(true)
            try {
              return plain(statement.all(...params)).map(narrowBigInts)
            } finally {
              statement.setReadBigInts(false)
            }
          }
        }),
      run: (sql, params = []) => judged(() => Number(prepare(sql).run(...params).changes)),
      clear: () => prepared.clear(),
    }
  }

  const own = statements(true)
  const application = statements(false)
  return {
    all: own.all,
    run: own.run,
    application,
    exec(script) {
      db.exec(script)
    },
    close() {
      own.clear()
      application.clear()
      db.close()
    },
  }
}

/**
 * Copies rows, because node:sqlite returns objects without a prototype, which are not deeply equal to those of a
 * browser.
 */
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
