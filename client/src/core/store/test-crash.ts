import type { ApplicationStatement, Sqlite, Statement } from '../../sqlite/sqlite.ts'
import type { SqlValue } from '../../types.ts'

export class Crash extends Error {}

/** A connection whose process ends at the statement of a number. */
export class FaultySqlite implements Sqlite {
  #db: Sqlite
  /** So many statements until the next crash. */
  left = Infinity

  constructor(db: Sqlite) {
    this.#db = db
  }

  /** The file was opened again. */
  use(db: Sqlite): void {
    this.#db = db
  }

  prepare(sql: string): Statement {
    const statement = this.#db.prepare(sql)
    return {
      run: (params) => this.#count(() => statement.run(params)),
      all: (params) => this.#count(() => statement.all(params)),
    }
  }

  /** The model looks: no process ends at it, and it may look after a COMMIT whose outcome it has to take over. */
  look(sql: string, params: readonly SqlValue[] = []): SqlValue[][] {
    return this.#db.prepare(sql).all(params)
  }

  prepareForApplication(sql: string): ApplicationStatement {
    return this.#db.prepareForApplication(sql)
  }

  interruptWhen(check: (() => boolean) | null): void {
    this.#db.interruptWhen(check)
  }

  exec(script: string): void {
    this.#count(() => this.#db.exec(script))
  }

  transaction<T>(work: () => T): T {
    return this.#db.transaction(work)
  }

  define(name: string, call: (value: SqlValue) => SqlValue): void {
    this.#db.define(name, call)
  }

  close(): void {
    this.#db.close()
  }

  #count<T>(work: () => T): T {
    if (--this.left < 0) throw new Crash()
    return work()
  }
}
