/**
 * A difference between what Postgres has, what row state says, and what the buckets hold. A code never changes its meaning; docs/operations.md has
 * them all. Each but the last is one row in one bucket, and is mended by one op.
 */
export type DifferenceCode =
  | 'row-missing' // row state does not know a row that Postgres has
  | 'row-stale' // row state knows another version of it
  | 'row-extra' // row state knows a row that Postgres does not have
  | 'op-missing' // a bucket lacks a row that row state says is in it
  | 'op-stale' // a bucket holds another version of it
  | 'op-extra' // a bucket holds a row of which row state knows nothing
  | 'bucket-checksum' // a bucket announces other totals than its ops have

export interface Difference {
  code: DifferenceCode
  /** `schema.name`; null when only the bucket knows of it. */
  table: string | null
  /** Key of the source row as JSON; of a row that only the bucket has, its type and id; null for a whole bucket. */
  key: string | null
  /** Null: nothing of it is in a bucket. */
  bucket: string | null
  reason: string
  /** The op that mends it is stored. */
  mended: boolean
}

/** Of the last one that was asked for. Times as ISO 8601. */
export interface VerifyStatus {
  /** From 1. */
  number: number
  repair: boolean
  /** `failed`: it could not be done, see `error`. `cancelled`: somebody ended it. */
  state: 'running' | 'done' | 'failed' | 'cancelled'
  /** `source`: Postgres is compared with row state. `buckets`: row state with the buckets. `mending`: ops of the repair are on their way. */
  phase: 'source' | 'buckets' | 'mending'
  /** 0 to 1. */
  progress: number
  /** What it waits for, for people. */
  waitingFor: string | null
  /** Compared so far: rows of Postgres, and buckets. */
  rows: number
  buckets: number
  counts: Partial<Record<DifferenceCode, number>>
  /** Differences found; those mended are among them. */
  found: number
  mended: number
  started: string
  ended: string | null
  error: { code: string; message: string } | null
  /** Who asked for it, as `sub` of the token says. */
  by?: string
}

/** `verify`: null when none was ever asked for. `differences`: the first ones, in the order in which they were found. */
export interface VerifyAnswer {
  verify: VerifyStatus | null
  differences: Difference[]
}
