/** A value of a source row in SQLite's storage classes: INTEGER is a bigint, REAL a number, BLOB bytes. */
export type SqliteValue = bigint | number | string | Uint8Array | null

/** How the sync config wants values that have more than one accepted text form. */
export interface ValueOptions {
  /** ISO 8601 timestamps (`T`, fixed digits) instead of Postgres's own form. */
  timestampsIso8601: boolean
  /** Digits after the second in ISO form: 0, 3, 6 or 9; undefined = those of the source. */
  timestampDigits?: number
  /** Decode domains, composites, ranges instead of their raw text. */
  customPostgresTypes: boolean
}

/** A value whose text depends on the options of the sync config: timestamps, custom types. */
export interface DeferredValue {
  resolve(options: ValueOptions): SqliteValue
}

/** A column of a source row. `undefined` = the row lacks it (or unchanged TOAST): NULL in expressions, absent in output. */
export type SourceValue = SqliteValue | DeferredValue | undefined

export type SourceRow = Record<string, SourceValue>
