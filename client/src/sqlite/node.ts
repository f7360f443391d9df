import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { sqliteCode } from '../core/problem.ts'
import { checkSingle, mayRun, refused } from '../core/statements.ts'
import type { SqlValue } from '../types.ts'
import { Judge } from './judge.ts'
import { KeptStatements } from './kept-statements.ts'
import type { ApplicationStatement, Params, ResultColumn, Sqlite, Statement } from './sqlite.ts'

const SQLITE_AUTH = 23

/** `node:sqlite` as the core wants it. The caller has opened and set up the connection. */
export function nodeSqlite(db: DatabaseSync): Sqlite {
  const own = new KeptStatements<Statement>()
  const applications = new KeptStatements<ApplicationStatement>()
  // Before Node 24.10 there is no authorizer.
  const judges = typeof db.setAuthorizer === 'function'
  let judge: Judge | null = null
  if (judges)
    db.setAuthorizer((action, table, column, _, by) =>
      judge === null || judge.allows(action, table, column, by) ? 0 : 1,
    )

  function single(sql: string): StatementSync {
    const native = db.prepare(sql)
    checkSingle(sql, native.sourceSQL)
    return native
  }

  function judged<T>(by: Judge, work: () => T): T {
    judge = by
    try {
      return work()
    } catch (error) {
      throw sqliteCode(error) === SQLITE_AUTH ? refused(error) : error
    } finally {
      judge = null
    }
  }

  function application(sql: string): ApplicationStatement {
    if (!judges && !mayRun(sql)) throw refused()
    const verdict = new Judge()
    const native = judged(verdict, () => single(sql))
    const statement = wrap(native)
    return {
      run: (params) => judged(verdict, () => statement.run(params)),
      all: (params) => judged(verdict, () => statement.all(params)),
      get isReadOnly() {
        return judges ? !verdict.writes : !writes(db, sql)
      },
      get sources() {
        return judges ? verdict.sources : null
      },
      columns: () => columnsOf(native),
    }
  }

  return {
    prepare: (sql) => own.get(sql, () => ({ statement: wrap(single(sql)) })),
    prepareForApplication: (sql) => applications.get(sql, () => ({ statement: application(sql) })),
    interruptWhen() {},
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
      own.clear()
      applications.clear()
      db.close()
    },
  }
}

function wrap(native: StatementSync): Statement {
  native.setReturnArrays(true)
  native.setReadBigInts(true)
  return {
    run: (params: Params = []) => Number(native.run(...params.map(widened)).changes),
    all: (params: Params = []) =>
      (native.all(...params.map(widened)) as unknown as SqlValue[][]).map((row) => row.map(narrowed)),
  }
}

/** node:sqlite binds every number as a real (24.21): a column that converts nothing would hold 1.0. */
const widened = (value: SqlValue): SqlValue => (Number.isSafeInteger(value) ? BigInt(value as number) : value)

function narrowed(value: SqlValue): SqlValue {
  return typeof value === 'bigint' && Number.isSafeInteger(Number(value)) ? Number(value) : value
}

/** Without an authorizer the bytecode says it: a transaction for writing begins with P2 above 0. */
function writes(db: DatabaseSync, sql: string): boolean {
  const code = db.prepare(`EXPLAIN ${sql}`).all()
  return code.some(({ opcode, p2 }) => opcode === 'Transaction' && p2 !== 0)
}

/** Node has it since 22.16; where it has not, values are shown as SQLite holds them. */
function columnsOf(native: StatementSync): ResultColumn[] {
  if (typeof native.columns !== 'function') return []
  return native.columns().map(({ name, table, column }) => ({ name, table, column }))
}
