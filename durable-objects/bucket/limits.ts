/** What bounds the log of a bucket, and says when compaction is worth its rows. */
export interface LogLimits {
  /**
   * The newest page is made longer up to so many bytes. Each small append then still is one row written, but leaves nothing to be merged: a merged
   * page costs one row deleted for each of its parts. Longer would mean more bytes written for the same row.
   */
  extendedBytes: number
  /** A compaction begins when so many bytes have come since the last one, and half as many as that one left stored. */
  afterBytes: number
  /** And when an op that is perhaps superseded has been there for so long. */
  historyMs: number
  /** Small pages are merged up to about so many bytes. */
  pageBytes: number
  /** Pages that one step takes together at most. */
  pages: number
  /** Rows that a compaction remembers at a time, and the UTF-16 units of their keys. */
  keys: number
  keysLength: number
  /** UTF-16 units of the rows that reads remember, the newest first, each with 64 more: their older ops are not sent. See `History`. */
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
