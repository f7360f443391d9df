/**
 * The longest text of a value, in bytes, that is held in memory. A `LargeValue` stands for a longer one, which one op
 * could not carry anyway (`MAX_OP_BYTES`).
 */
export const MAX_VALUE_BYTES = 2 * 1024 * 1024
/** The most bytes of one row's texts that are held. Further values of the row count as large. */
export const MAX_ROW_BYTES = 8 * 1024 * 1024
/**
 * The longest content of `pg_logical_emit_message`, in bytes, that is held. Ours are shorter, but every role may write
 * others.
 */
export const MAX_MESSAGE_BYTES = 2 * 1024 * 1024

/** Takes the place of a value in a tuple that was too large to be held. */
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

/**
 * The form byte of a value that `reduceChange` left out; its length follows. Postgres does not use this letter
 * (2026-11: n, u, t, b).
 */
export const LARGE = 0x78
