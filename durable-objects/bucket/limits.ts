/** The limits of a bucket's log, and when a compaction is worth its writes. */
export interface LogLimits {
  /**
   * Appends extend the newest page up to this many bytes. A small append is still one row written, but leaves nothing
   * to be merged, which would cost one deleted row for each part. A higher value would mean more bytes written for the
   * same row.
   */
  extendedBytes: number
  /**
   * A compaction begins when this many bytes have come since the last one, and at least half as many as that one left
   * stored.
   */
  afterBytes: number
  /** A compaction also begins when an op that may be superseded has been stored for this long. */
  historyMs: number
  /** Small pages are merged up to about this many bytes. */
  pageBytes: number
  /** The largest number of pages that one step merges. */
  pages: number
  /** The number of rows that a compaction remembers at a time, and the UTF-16 units of their keys. */
  keys: number
  keysLength: number
  /** UTF-16 units of the keys that reads remember, with 64 more for each row, the newest first. See `History`. */
  historyLength: number
}

export const LOG_LIMITS: LogLimits = {
  extendedBytes: 16 * 1024,
  afterBytes: 256 * 1024,
  historyMs: 24 * 60 * 60 * 1_000,
  pageBytes: 256 * 1024,
  pages: 256,
  keys: 100_000,
  keysLength: 8 * 1024 * 1024,
  historyLength: 16 * 1024 * 1024,
}
