/** What a SQLite column holds and returns. Booleans are 0 and 1, JSON is text, a blob is bytes. */
export type SqlValue = string | number | bigint | Uint8Array | null
/** What may be bound to a `?`: `true` and `false` become 1 and 0. */
export type SqlParam = SqlValue | boolean
export type Row = Record<string, SqlValue>

export type ColumnType = 'text' | 'integer' | 'real' | 'boolean' | 'json'

export interface TableSchema {
  /** Without `id`: every table has `id TEXT PRIMARY KEY`. */
  columns: Record<string, ColumnType>
  /** Columns of each index by its name. */
  indexes?: Record<string, string[]>
}

export interface Schema {
  tables: Record<string, TableSchema>
}

/** One change of a row. `data` of a `put` holds all columns, of a `patch` the changed ones, of a `delete` it is null; never the id. */
export type UploadOp =
  | { op: 'put' | 'patch'; table: string; id: string; data: Record<string, unknown> }
  | { op: 'delete'; table: string; id: string; data: null }

/** The changes of one `write`. The pair of ids is an idempotency key: the same transaction may arrive more than once. */
export interface UploadTransaction {
  client_id: string
  /** Ascending per client. */
  transaction_id: number
  ops: UploadOp[]
}

/**
 * `accepted`: committed by the server. `rejected`: never will be; it is rolled back here and kept among the failed writes.
 * Anything thrown means: try again later.
 */
export type UploadResult = { result: 'accepted' } | { result: 'rejected'; code: string; message: string }

export interface SyncOptions {
  /** Where Rockpool answers, for example `https://sync.example.com`. */
  url: string
  schema: Schema
  /** A token for the sync service and the uploader; asked again when it is about to expire, and when it threw. Throw `SignedOut` when nobody is signed in. */
  auth: () => Promise<string> | string
  /**
   * Who works with this database. It belongs to the first user who opens it, and nobody else reads it or sends its writes. Without this option it belongs to
   * the subject of the first token, and opening it waits for a token, for a few seconds at most.
   */
  user?: string
  /** How `user` is found in a token. Default: its `sub`. */
  subject?: (claims: Record<string, unknown>) => string
  /** Names the local database of this origin. Default `rockpool`. */
  name?: string
  /** Where the built-in uploader posts transactions. Without it and without `upload`, writes wait in the queue. */
  uploadUrl?: string
  /** Takes the place of the built-in uploader. */
  upload?: (transaction: UploadTransaction, context: { token: string; signal: AbortSignal }) => Promise<UploadResult>
  /** Parameters of the connection, for the sync config (`connection.parameter('x')`). */
  parameters?: Record<string, unknown>
  /** Default true: connect as soon as the database is open. */
  connect?: boolean
  /** Default false: `http://` is refused except on this machine, because the token and all rows would cross the network in plain text. */
  allowHttp?: boolean
}

export interface SyncProblem {
  /** A stable code: the server's (`PSYNC_…`, `ROCKPOOL_…`) or one of ours (`docs/client.md` lists them). */
  code: string
  message: string
}

/** An upload that was not decided. */
export interface UploadProblem {
  error: SyncProblem
  /** How often uploads have failed in a row. */
  attempts: number
  /** Milliseconds since 1970. */
  retryAt: number
}

export interface SyncProgress {
  /** Ops of the checkpoint being downloaded. */
  downloaded: number
  total: number
  /** 0 … 1. */
  fraction: number
}

/** What the connection does at the moment. */
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
  /** Accepted transactions whose effect has not come back in a checkpoint yet; they stay visible meanwhile. */
  unconfirmedWrites: number
  /** Rejected transactions; see `failedWrites()`. */
  failedWrites: number
  /** When a whole checkpoint was last applied, or was known to be current; milliseconds since 1970. */
  lastSyncedAt: number | null
  /**
   * The server compares everything with its database and shows nothing new until that is done: how much is, 0 to 1. Null: it does not, or nobody is connected
   * who could say so.
   */
  comparing: number | null
  /** Why the last upload was not decided, and when it is tried again. Null when there is nothing to complain about. */
  upload: UploadProblem | null
  /**
   * What of the schema no row from the server has: `table.column`, or `table` that has no row from the server at all, which may just be empty. Looked at when a connection has brought its first whole
   * checkpoint, and when a table gets its first rows.
   */
  unsynced: readonly string[]
  /** `memory`: nothing survives a reload, because this browser (or private window) has no OPFS. */
  storage: 'opfs' | 'memory' | 'file'
  /** A damaged database was found, is kept as a file, and another one was begun: `storage_corrupt`, with the name of the file. */
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
  /** Runs one statement; `changes` counts its rows. */
  execute(sql: string, params?: readonly SqlParam[]): Promise<{ changes: number }>
  /** Runs one statement with each list of parameters: one message instead of many. `changes` counts all rows. */
  executeBatch(sql: string, params: readonly (readonly SqlParam[])[]): Promise<{ changes: number }>
  /** Reads, and sees what this transaction wrote. */
  query<T extends object = Row>(sql: string, params?: readonly SqlParam[]): Promise<T[]>
}

export interface SyncEvents {
  status: Status
  failedWrite: FailedWrite
  /** A bucket did not add up and is downloaded again. It should never happen. */
  mismatch: { bucket: string }
}

export interface WaitOptions {
  signal?: AbortSignal
  /** Milliseconds. */
  timeout?: number
}

export interface SignOutOptions extends WaitOptions {
  /**
   * What happens to writes that the server has not accepted, refused ones among them. `refuse` (the default): the sign-out is refused with the code `unsent`.
   * `wait`: they are uploaded first, by `signal` and `timeout`. `discard`: they are deleted.
   */
  unsent?: 'refuse' | 'wait' | 'discard'
  /** Closes the database and keeps everything in it, for the same user. */
  keepRows?: boolean
}

/** A local database that is kept in step. */
export interface SyncDatabase {
  /** Reads. A statement that writes is refused. */
  query<T extends object = Row>(sql: string, params?: readonly SqlParam[]): Promise<T[]>
  /**
   * Calls back with the rows now, and again whenever a table that the query reads has changed and the rows differ.
   * Returns the function that ends it.
   */
  live<T extends object = Row>(
    sql: string,
    params: readonly SqlParam[],
    callback: (rows: T[]) => void,
    onError?: (error: Error) => void,
  ): () => void
  /**
   * Runs one local transaction; its changes are visible at once and uploaded together. Inside, use `tx` and not `db`: everything
   * else waits for the transaction to end. It is rolled back when `change` throws, pauses for more than 10 seconds, or takes more than 2 minutes.
   */
  write<T>(change: (tx: WriteTransaction) => T | Promise<T>): Promise<T>
  /** A new object whenever something changed. */
  readonly status: Status
  /** Returns the function that ends it. */
  on<E extends keyof SyncEvents>(event: E, listener: (value: SyncEvents[E]) => void): () => void
  /** Resolves when a whole checkpoint has been applied at some time (also before this session). Rejects by signal and timeout. */
  waitForSync(options?: WaitOptions): Promise<void>
  /** Resolves when every local transaction is accepted and its effect has come back. Rejects by signal and timeout. */
  waitForUpload(options?: WaitOptions): Promise<void>
  failedWrites(): Promise<FailedWrite[]>
  /** Forgets a failed write; without an id all of them. */
  dismissFailedWrites(transactionId?: number): Promise<void>
  /** Puts a failed write at the end of the queue, as a new transaction. */
  retryFailedWrite(transactionId: number): Promise<void>
  /** Goes offline: no stream, no uploads, until `connect`. */
  disconnect(): Promise<void>
  /** Goes online; when it is already, tries again at once. */
  connect(): Promise<void>
  /** Deletes the local database of this user, in all tabs, and closes it. What is unsent is not deleted unasked. */
  signOut(options?: SignOutOptions): Promise<void>
  /** Deletes the local database, whosever it is and whatever is unsent, in all tabs, and closes it. */
  wipe(): Promise<void>
  close(): Promise<void>
}

/** In Node the database is a file. */
export interface NodeSyncOptions extends SyncOptions {
  /** Path of the file, `:memory:` for none. Default `<name>.db`. */
  path?: string
}

export type OpenSync = (options: SyncOptions) => Promise<SyncDatabase>
