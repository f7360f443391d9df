import type { SqlValue } from '../types.ts'
import type { Sources } from './judge.ts'

/** By position. Integers beyond 2^53 are bigints. */
export type Params = readonly SqlValue[]

/** One statement, prepared. */
export interface Statement {
  /** Runs it to its end. Answers the number of rows that it changed. */
  run(params?: Params): number
  /** Its rows, each an array in the order of its columns. */
  all(params?: Params): SqlValue[][]
}

/** A column of a result, and the column of a table that it shows; both null where it is computed. */
export interface ResultColumn {
  name: string
  table: string | null
  column: string | null
}

/**
 * A statement of the application: it was judged when it was compiled, and is again when SQLite compiles it anew because
 * the schema has changed.
 */
export interface ApplicationStatement extends Statement {
  readonly isReadOnly: boolean
  /** What it reads; null where the platform does not say, which may be anything. */
  readonly sources: Sources | null
  /** They change with the schema. */
  columns(): ResultColumn[]
}

/** A synchronous connection: the only thing that the core needs of its platform. */
export interface Sqlite {
  /**
   * Keeps what it has prepared, so it is asked at each use: of many statements the oldest go. Throws on a second
   * statement.
   */
  prepare(sql: string): Statement
  /**
   * The same for a statement of the application. Throws ProblemError `statement` when it does more than read and write
   * rows of tables that are not ours; so does running it.
   */
  prepareForApplication(sql: string): ApplicationStatement
  /**
   * `check` is called again and again while a statement runs, every ~1,000 steps of it; true interrupts the statement,
   * which throws with SQLite's code 9. In a transaction a statement that writes takes the whole of it back. Null: no
   * check. Does nothing in Node, whose SQLite offers none (24.21).
   */
  interruptWhen(check: (() => boolean) | null): void
  /** Runs a script without parameters. */
  exec(script: string): void
  /** Runs `work` in one transaction; whatever it throws rolls everything back. It does not nest. */
  transaction<T>(work: () => T): T
  /** A function of SQL with one parameter. The same value always gives the same answer. */
  define(name: string, call: (value: SqlValue) => SqlValue): void
  close(): void
}

/** A name as an SQL identifier. */
export const identifier = (name: string): string => `"${name.replaceAll('"', '""')}"`

/** A text as an SQL literal. */
export const literal = (value: string): string => `'${value.replaceAll("'", "''")}'`

/** A column that our own tables declare as text. */
export function text(value: SqlValue | undefined): string {
  if (typeof value !== 'string') throw new Error(`Expected text in the sync tables, found ${typeof value}`)
  return value
}

/** A column that our own tables declare as an integer below 2^53. */
export function integer(value: SqlValue | undefined): number {
  if (typeof value !== 'number') throw new Error(`Expected an integer in the sync tables, found ${typeof value}`)
  return value
}
