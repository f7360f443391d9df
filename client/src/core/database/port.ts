import type { ResultColumn } from '../../sqlite/sqlite.ts'
import type { SignOutOptions, SqlParam, SqlValue, WaitOptions } from '../../types.ts'
import type { LiveListener } from '../live/registry.ts'
import type { FailedTransaction } from '../outbox/failed.ts'
import type { StoredOp } from '../store/ops.ts'
import type { StreamStatus } from '../sync/lines.ts'
import type { OpenStream } from '../sync/stream-use.ts'
import type { Wanted } from '../sync/streams.ts'
import type { WrittenPromises } from './fate-watch.ts'
import type { DatabaseStatus } from './status.ts'

// What the typed API stands on. It is the database itself where the file is open, and in a tab what talks to the tab
// that has it open.

export interface DatabaseEvents {
  status: DatabaseStatus
  streams: readonly StreamStatus[]
  failed: readonly FailedTransaction[]
  /** A bucket did not add up and is downloaded again. It should never happen. */
  mismatch: { bucket: string }
  /** The server does not know this client any more: what is unsent has new ids. */
  clientReset: object
  /**
   * A damaged file was set aside, and what was unsent in it is in the new one: `unsent` wait as before, `damaged` are
   * among the failed ones.
   */
  recovered: { unsent: number; damaged: number }
  /**
   * A write has been waiting for a day, in a browser that deletes what a site has stored when nobody visits it for some
   * days. Said once for each oldest write. `oldestUnsentAt`: milliseconds since 1970.
   */
  unsentAtRisk: { oldestUnsentAt: number }
}

export interface QueryResult {
  rows: SqlValue[][]
  columns: ResultColumn[]
}

export interface BoundStatement {
  readonly sql: string
  readonly params: readonly SqlParam[]
}

/** What a local transaction may do. Statements change rows of the tables of the schema, and nothing else. */
export interface LocalTransaction {
  /** Runs one statement; `changes` counts its rows. */
  execute(sql: string, params?: readonly SqlParam[]): Promise<{ changes: number }>
  /** Reads, and sees what this transaction wrote. The rows are arrays in the order of the columns. */
  query(sql: string, params?: readonly SqlParam[]): Promise<QueryResult>
}

export interface Written<T> extends WrittenPromises {
  /** A UUID of version 7: the key by which the backend knows the transaction. */
  readonly id: string
  readonly value: T
}

export interface WriteOptions {
  /**
   * Rejects with its reason when nothing was stored. When it is too late, the write resolves as if it had not been
   * aborted.
   */
  signal?: AbortSignal
}

export interface DatabasePort {
  /** Resolves when the file is open; rejects when it cannot be. */
  readonly opened: Promise<void>
  readonly status: DatabaseStatus
  readonly streams: readonly StreamStatus[]
  /** Priorities up to it were shown whole in this session; -1: none, Infinity: all. */
  readonly shown: number
  on<E extends keyof DatabaseEvents>(event: E, listener: (value: DatabaseEvents[E]) => void): () => void
  query(sql: string, params?: readonly SqlParam[], timeout?: number): Promise<QueryResult>
  follow(sql: string, params: readonly SqlParam[], listener: LiveListener): () => void
  write<T>(change: (tx: LocalTransaction) => T | Promise<T>, options?: WriteOptions): Promise<Written<T>>
  /** One transaction of these statements. Answers how many rows each changed. */
  batch(statements: readonly BoundStatement[], options?: WriteOptions): Promise<Written<number[]>>
  /** The id of the write that was stored under this name; null: none was. */
  fate(call: string): Promise<string | null>
  transaction(id: string): Promise<WrittenPromises>
  failed(): Promise<FailedTransaction[]>
  retry(id: string): Promise<Map<string, string>>
  edit(id: string, ops: readonly StoredOp[]): Promise<string | null>
  dismiss(id: string | null): Promise<void>
  stream(wanted: Wanted): Promise<OpenStream>
  until(reached: (status: DatabaseStatus) => boolean, options?: WaitOptions): Promise<void>
  connect(): Promise<void>
  disconnect(): Promise<void>
  signOut(options?: SignOutOptions): Promise<void>
  wipe(): Promise<void>
  close(): Promise<void>
}
