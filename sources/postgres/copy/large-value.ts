/** A value whose text is longer is never held: what is left of it is a `LargeValue`. It is more than one op can carry (`MAX_OP_BYTES`). */
export const MAX_VALUE_BYTES = 2 * 1024 * 1024
/** Bytes of texts of one row that are held; further values of the row count as large, each by itself. */
export const MAX_ROW_BYTES = 8 * 1024 * 1024
/** Content of `pg_logical_emit_message` that is held. Ours are shorter; every role may write others. */
export const MAX_MESSAGE_BYTES = 2 * 1024 * 1024

/** Stands in a tuple for a value that was too large to be taken in. */
export class LargeValue {
  /** Bytes of its text in UTF-8. */
  readonly bytes: number

  constructor(bytes: number) {
    this.bytes = bytes
  }

  get reason(): string {
    return this.bytes > MAX_VALUE_BYTES
      ? `the value has ${this.bytes} bytes, more than ${MAX_VALUE_BYTES}`
      : `with its ${this.bytes} bytes the row has more than ${MAX_ROW_BYTES}`
  }
}

/** The form byte of a value that was left out by `reduceChange`, followed by its length. Postgres has none of that letter (2026-11: n, u, t, b). */
export const LARGE = 0x78
