import type { WriteOptions as PortWriteOptions, Written } from '../core/database/port.ts'
import type { FailedTransaction } from '../core/outbox/failed.ts'
import type { StoredOp } from '../core/store/ops.ts'
import type { InsertOf, PatchOf, RowOf, TypedSchema } from '../schema.ts'
import type { WaitOptions } from '../types.ts'
import type { Sql } from './sql.ts'
import type { TransactionTable } from './tables.ts'

// What an application gets from a database and gives to it.

/** Rows of one table. Each change is a write of its own. */
export interface Table<S extends TypedSchema, T extends keyof S['tables']> {
  /** `value`: the id. */
  insert(row: InsertOf<S, T>): Promise<Written<string>>
  /** `value`: how many rows there were, 0 or 1. */
  update(id: string, patch: PatchOf<S, T>): Promise<Written<number>>
  delete(id: string): Promise<Written<number>>
  get(id: string): Promise<RowOf<S, T> | null>
}

export interface WriteTransaction<S extends TypedSchema> {
  readonly tables: { readonly [T in keyof S['tables']]: TransactionTable<S, T> }
  execute(statement: Sql): Promise<{ changes: number }>
  query<R extends object>(statement: Sql<R>): Promise<R[]>
}

export interface QueryOptions {
  /** False: values as SQLite has them. */
  decode?: boolean
  /** Milliseconds that the query may run, in a browser. Then it throws `timeout`. */
  timeout?: number
}

export interface WriteOptions extends PortWriteOptions {
  /**
   * True: it is run again when the tab that had the database open has gone before it was stored. Otherwise it rejects
   * with `owner_lost` then.
   */
  retry?: boolean
}

export interface StreamOptions {
  /** For how long it is kept up to date when nobody has it open, in seconds. Default: a day. */
  ttl?: number
  /** 0 (most urgent) to 3. */
  priority?: number
}

export interface StreamHandle {
  /** What the server could not evaluate of it. */
  readonly errors: readonly string[]
  /** Resolves when everything of it is shown. Rejects by signal and timeout. */
  synced(options?: WaitOptions): Promise<void>
  /** From now on its time runs. */
  close(): void
}

export interface Failed {
  list(): Promise<FailedTransaction[]>
  /** Sends it again with all that builds on it. Answers the ids of the new transactions by those of the old ones. */
  retry(id: string): Promise<Map<string, string>>
  edit(id: string, ops: readonly StoredOp[]): Promise<string | null>
  dismiss(id?: string): Promise<void>
}
