import type { Serving } from '../../../protocol/messages/replicator.ts'
import type { OpId } from '../../../protocol/ops.ts'

// Types of table `state`, see `State`, for values on which other rooms work.

/**
 * `earlier` is true for the storage of a version that signed nothing. Its messages may still arrive, before anything
 * that is signed with this key. Until then they are accepted as ours, because requests may wait for them.
 */
export type MarkerKey = { key: string; earlier: boolean } | null

/** A change that is being tried, or was skipped because it killed the replicator each time. */
export interface Suspect {
  t: number
  /** The key of the row; empty for a change of the whole table. */
  key: string
  tries: number
  /** True when the table must be compared again after the copy in progress. */
  again: boolean
}

/** The last round over everything. Ops up to `before` were made before the previous round. */
export interface Round {
  /** When it began, in milliseconds since 1970. */
  at: number
  counter: OpId
  before: OpId
  done: boolean
}

/**
 * A bucket that accepts no appends is fenced: its ops are dropped, its readers are refused, and commits continue
 * without it. Row state continues as if it had the ops. When it accepts appends again it gets the new ops, is compared
 * with row state and repaired, and its readers may return.
 */
export interface Fence {
  /** The number of the bucket. */
  bucket: number
  /** ISO 8601 */
  since: string
  /** No op above this id was ever sent to it. */
  barrier: OpId
  /**
   * The checkpoint that was served when it was fenced. The bucket has everything up to it, and no later one is
   * published to it.
   */
  served: OpId
  /**
   * True when it has answered since then, so that earlier appends cannot reach it any more, and it is being compared.
   */
  answers: boolean
}

/**
 * While rows are compared with the source one by one, the stored rows are not a state that the source was ever in.
 * Batches are committed anyway, so that outbox and pipeline drain, but what is announced and served stands still: this
 * checkpoint, under this plan.
 */
export interface Hold extends Serving {
  /** ISO 8601 */
  since: string
  /**
   * The last op that was stored when the comparison was complete, or null while it is not. From the commit of that op
   * on, what is committed is served.
   */
  until: OpId | null
}

/** Sessions, one after the other, to which the source sent nothing new behind this place. Older code ignores it. */
export interface Passing {
  /** How far the stream was taken in. */
  at: string
  /** How many, the one that runs included. */
  starts: number
}

/** What was used on a day of UTC, `YYYY-MM-DD`. */
export interface StoredUsage {
  day: string
  /** Rows written by the replicator, and one for each append to a bucket. */
  rows: number
  /** Calls of buckets, and sessions. */
  requests: number
  /** For how long sessions ran, in ms. */
  awakeMs: number
  /** What was told of the rows, and of what is stored. Usage of before has none of the latter. */
  level: 'within' | 'warn' | 'refuse'
  storedLevel?: 'within' | 'warn' | 'refuse'
}

/** How much the buckets store, in bytes, with what was appended since that was measured. */
export interface StoredSize {
  bytes: number
  /** Ms since 1970; 0: not yet. */
  measured: number
  /** A measure that is under way: the last bucket, what those up to it store, and what was appended meanwhile. */
  partial: { after: number; sum: number; grown: number } | null
}

/**
 * Why there are no sessions: more rows than the tenant may write, or more bytes than it may store, or the budget of the
 * deployment. Times in ms.
 */
export interface Paused {
  why: 'rowsPerDay' | 'storedGb' | 'deployment'
  since: number
  until: number
}
