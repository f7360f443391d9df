/** A value of a SQLite column. Booleans are 0 and 1, JSON is text, a blob is bytes. */
export type SqlValue = string | number | bigint | Uint8Array | null
/** A value that may be bound to a `?`. `true` and `false` become 1 and 0. */
export type SqlParam = SqlValue | boolean
export type Row = Record<string, SqlValue>

export type ColumnType = 'text' | 'integer' | 'real' | 'boolean' | 'json'

export interface TableSchema {
  /** Columns other than `id`. Every table has `id TEXT PRIMARY KEY`. */
  columns: Record<string, ColumnType>
  /** The columns of each index, by the name of the index. */
  indexes?: Record<string, string[]>
}

export interface Schema {
  tables: Record<string, TableSchema>
}

/**
 * One change of a row. `data` has all columns for a `put`, the changed ones for a `patch`, and is null for a `delete`.
 * It never contains the id.
 */
export type UploadOp =
  | { op: 'put' | 'patch'; table: string; id: string; data: Record<string, unknown> }
  | { op: 'delete'; table: string; id: string; data: null }

/**
 * The changes of one `write`. The pair of ids is an idempotency key, because the same transaction may arrive more than
 * once.
 */
export interface UploadTransaction {
  client_id: string
  /** Ascending per client. */
  transaction_id: number
  ops: UploadOp[]
}

/**
 * `accepted`: the server committed the transaction. `rejected`: it never will; the client rolls it back and keeps it
 * among the failed writes. An uploader that throws is called again later.
 */
export type UploadResult = { result: 'accepted' } | { result: 'rejected'; code: string; message: string }

export interface SyncOptions {
  /** The URL of Rockpool, for example `https://sync.example.com`. */
  url: string
  schema: Schema
  /**
   * Returns a token for the sync service and the uploader. It is called again before the token expires, and after it
   * threw. Throw `SignedOut` when nobody is signed in.
   */
  auth: () => Promise<string> | string
  /**
   * The user of this database. It belongs to the first user who opens it, and nobody else reads it or sends its writes.
   * Without this option it belongs to the subject of the first token, and opening it waits for a token, for a few
   * seconds at most.
   */
  user?: string
  /** Returns the `user` of a token. Default: its `sub`. */
  subject?: (claims: Record<string, unknown>) => string
  /** The name of the local database in this origin. Default `rockpool`. */
  name?: string
  /**
   * The URL to which the built-in uploader posts transactions. Without it and without `upload`, writes wait in the
   * queue.
   */
  uploadUrl?: string
  /** Replaces the built-in uploader. */
  upload?: (transaction: UploadTransaction, context: { token: string; signal: AbortSignal }) => Promise<UploadResult>
  /** Parameters of the connection, for the sync config (`connection.parameter('x')`). */
  parameters?: Record<string, unknown>
  /** Whether to connect as soon as the database is open. Default true. */
  connect?: boolean
  /**
   * Whether to accept `http://` beyond this machine, where the token and all rows would cross the network in plain
   * text. Default false.
   */
  allowHttp?: boolean
}

export interface SyncProblem {
  /**
   * A stable code: one of the server's (`PSYNC_…`, `ROCKPOOL_…`) or one of the client's (`docs/client.md` lists them).
   */
  code: string
  message: string
}

/** An upload that was neither accepted nor rejected. */
export interface UploadProblem {
  error: SyncProblem
  /** The number of consecutive failures. */
  attempts: number
  /** When it is tried again, in milliseconds since 1970. */
  retryAt: number
}

export interface SyncProgress {
  /** The number of ops of the checkpoint that have been downloaded. */
  downloaded: number
  total: number
  /** From 0 to 1. */
  fraction: number
}

/** The state of the connection. */
export type SyncState =
  | { state: 'offline' }
  | { state: 'connecting' }
  | { state: 'syncing'; progress: SyncProgress }
  | { state: 'live' }
  | { state: 'needs-auth'; error: SyncProblem }
  /** `retryAt`: milliseconds since 1970. */
  | { state: 'error'; error: SyncProblem; retryAt: number }
  /** By `close`, `signOut` or `wipe`, in this tab or another. */
  | { state: 'closed' }

export type Status = SyncState & {
  /** Local transactions that the server has not accepted yet. */
  pendingWrites: number
  /** Accepted transactions whose effect has not arrived in a checkpoint yet. They stay visible meanwhile. */
  unconfirmedWrites: number
  /** Rejected transactions; see `failedWrites()`. */
  failedWrites: number
  /** When a whole checkpoint was last applied, or known to be current, in milliseconds since 1970. */
  lastSyncedAt: number | null
  /**
   * How far the server is with comparing everything with its database, 0 to 1. It sends nothing new until that is done.
   * Null when it does not compare, and while the client is not connected.
   */
  comparing: number | null
  /** Why the last upload failed, and when it is tried again. Null when there is no problem. */
  upload: UploadProblem | null
  /**
   * The parts of the schema that no row from the server has: `table.column`, or `table` when it has no row from the
   * server at all, which may just be empty. Computed after the first whole checkpoint of a connection, and when a table
   * gets its first rows.
   */
  unsynced: readonly string[]
  /** `memory` when this browser (or private window) has no OPFS: nothing survives a reload. */
  storage: 'opfs' | 'memory' | 'file'
  /**
   * `storage_corrupt`, with the name of the file, when a damaged database was found: it is kept as a file, and a new
   * one was created. Else null.
   */
  setAside: SyncProblem | null
}

export interface FailedWrite {
  transactionId: number
  /** Milliseconds since 1970. */
  failedAt: number
  error: SyncProblem
  ops: UploadOp[]
}

export interface WriteTransaction {
  /** Runs one statement. `changes` is the number of changed rows. */
  execute(sql: string, params?: readonly SqlParam[]): Promise<{ changes: number }>
  /**
   * Runs one statement with each list of parameters, in one message instead of many. `changes` is the number of all
   * changed rows.
   */
  executeBatch(sql: string, params: readonly (readonly SqlParam[])[]): Promise<{ changes: number }>
  /** Runs a query, which sees what this transaction wrote. */
  query<T extends object = Row>(sql: string, params?: readonly SqlParam[]): Promise<T[]>
}

export interface SyncEvents {
  status: Status
  failedWrite: FailedWrite
  /** The checksum of a bucket did not match, so it is downloaded again. This should never happen. */
  mismatch: { bucket: string }
}

export interface WaitOptions {
  signal?: AbortSignal
  /** In milliseconds. */
  timeout?: number
}

export interface SignOutOptions extends WaitOptions {
  /**
   * What happens to writes that the server has not accepted, including rejected ones. `refuse` (the default): the
   * sign-out is refused with the code `unsent`. `wait`: they are uploaded first, within `signal` and `timeout`.
   * `discard`: they are deleted.
   */
  unsent?: 'refuse' | 'wait' | 'discard'
  /** Close the database and keep its content for the same user. */
  keepRows?: boolean
}

/** A local database that is kept in sync. */
export interface SyncDatabase {
  /** Runs a query. A statement that writes is refused. */
  query<T extends object = Row>(sql: string, params?: readonly SqlParam[]): Promise<T[]>
  /**
   * Calls back with the rows, and again whenever a table that the query reads has changed and the rows differ.
   * Returns the function that ends the live query.
   */
  live<T extends object = Row>(
    sql: string,
    params: readonly SqlParam[],
    callback: (rows: T[]) => void,
    onError?: (error: Error) => void,
  ): () => void
  /**
   * Runs one local transaction, whose changes are visible at once and uploaded together. Inside it use `tx` and not
   * `db`, because everything else waits for the transaction to end. It is rolled back when `change` throws, pauses for
   * more than 10 seconds, or takes more than 2 minutes.
   */
  write<T>(change: (tx: WriteTransaction) => T | Promise<T>): Promise<T>
  /** The status, a new object after every change. */
  readonly status: Status
  /** Subscribes to an event. Returns the function that unsubscribes. */
  on<E extends keyof SyncEvents>(event: E, listener: (value: SyncEvents[E]) => void): () => void
  /**
   * Resolves when a whole checkpoint has ever been applied, also before this session. Rejects on `signal` and
   * `timeout`.
   */
  waitForSync(options?: WaitOptions): Promise<void>
  /**
   * Resolves when every local transaction is accepted and its effect has arrived. Rejects on `signal` and `timeout`.
   */
  waitForUpload(options?: WaitOptions): Promise<void>
  failedWrites(): Promise<FailedWrite[]>
  /** Forgets a failed write, or all of them without an id. */
  dismissFailedWrites(transactionId?: number): Promise<void>
  /** Puts a failed write at the end of the queue, as a new transaction. */
  retryFailedWrite(transactionId: number): Promise<void>
  /** Goes offline: no stream, no uploads, until `connect`. */
  disconnect(): Promise<void>
  /** Goes online. When it is already online, tries again at once. */
  connect(): Promise<void>
  /**
   * Closes and deletes the local database of this user, in all tabs. Unsent writes are deleted only with `unsent:
   * 'discard'`.
   */
  signOut(options?: SignOutOptions): Promise<void>
  /** Closes and deletes the local database in all tabs, regardless of its user and of unsent writes. */
  wipe(): Promise<void>
  close(): Promise<void>
}

/** In Node the database is a file. */
export interface NodeSyncOptions extends SyncOptions {
  /** The path of the file, or `:memory:` for none. Default `<name>.db`. */
  path?: string
}
