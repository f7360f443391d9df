/**
 * A difference between Postgres, row state and the buckets. A code never changes its meaning; docs/operations.md lists
 * them all. Each but the last is about one row in one bucket, and one op repairs it.
 */
export type DifferenceCode =
  | 'row-missing' // row state does not know a row that Postgres has
  | 'row-stale' // row state knows another version of it
  | 'row-extra' // row state knows a row that Postgres does not have
  | 'op-missing' // a bucket lacks a row that row state says is in it
  | 'op-stale' // a bucket holds another version of it
  | 'op-extra' // a bucket holds a row that row state does not know
  | 'bucket-checksum' // the totals that a bucket announces differ from those of its ops

export interface Difference {
  code: DifferenceCode
  /** `schema.name`; null when only the bucket knows the row. */
  table: string | null
  /** The key of the source row as JSON, or type and id of a row that only the bucket has; null for a whole bucket. */
  key: string | null
  /** Null when the row is in no bucket. */
  bucket: string | null
  reason: string
  /** True when the op that repairs it is stored. */
  mended: boolean
}

/** The last comparison that was asked for. Times as ISO 8601. */
export interface VerifyStatus {
  /** Counts comparisons from 1. */
  number: number
  repair: boolean
  /** `failed`: see `error`. `cancelled`: an operator ended it. */
  state: 'running' | 'done' | 'failed' | 'cancelled'
  /**
   * `source`: Postgres is compared with row state. `buckets`: row state is compared with the buckets. `mending`: ops of
   * the repair are being appended.
   */
  phase: 'source' | 'buckets' | 'mending'
  /** 0 to 1. */
  progress: number
  /** What it waits for, as text for people. */
  waitingFor: string | null
  /** Rows of Postgres and buckets compared so far. */
  rows: number
  buckets: number
  counts: Partial<Record<DifferenceCode, number>>
  /** Differences found, including those that were repaired. */
  found: number
  mended: number
  started: string
  ended: string | null
  error: { code: string; message: string } | null
  /** Who asked for it: `sub` of the token. */
  by?: string
}

/**
 * `verify` is null when there never was a comparison. `differences` has the first ones, in the order in which they were
 * found.
 */
export interface VerifyAnswer {
  verify: VerifyStatus | null
  differences: Difference[]
}
