/** A value of a source row in SQLite's storage classes: INTEGER is a bigint, REAL a number, BLOB bytes. */
export type SqliteValue = bigint | number | string | Uint8Array | null

/** Which text form the sync config wants for values that have more than one. */
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
  /** Throws ValueFailure. */
  resolve(options: ValueOptions): SqliteValue
}

/**
 * A column of a source row. `undefined` = the row lacks it (or unchanged TOAST): NULL in expressions, absent in output.
 */
export type SourceValue = SqliteValue | DeferredValue | undefined

export type SourceRow = Record<string, SourceValue>

/**
 * The nesting depth of arrays, objects and ranges in one value, including the outermost. JSON of json columns does not
 * count.
 */
export const MAX_VALUE_DEPTH = 11

/** A value that cannot be sent to clients. Its row is left out and reported with table and key. This is not a bug. */
export class ValueFailure extends Error {
  override readonly name = 'ValueFailure'
}
