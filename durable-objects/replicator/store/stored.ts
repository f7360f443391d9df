import type { Serving } from '../../../protocol/messages/replicator.ts'
import type { OpId } from '../../../protocol/ops.ts'

// What the rooms keep in table `state`, see `State`, where the room itself works on that state.

/**
 * `earlier`: the storage is that of a version that signed nothing. What it wrote may still come, and comes before anything that is signed with this key:
 * until then it is taken for ours, or whoever waits for it would wait for ever.
 */
export type MarkerKey = { key: string; earlier: boolean } | null

/** A change that is being tried, or was skipped because it killed the replicator each time. */
export interface Suspect {
  t: number
  /** Of the row; empty for what concerns the whole table. */
  key: string
  tries: number
  /** The table is compared once more when the copy that is under way is done. */
  again: boolean
}

/** The last round over everything. `before`: ops up to here were made before the round before it. */
export interface Round {
  /** When it began: ms since 1970. */
  at: number
  counter: OpId
  before: OpId
  done: boolean
}

/**
 * A bucket that takes no appends is fenced: its ops are thrown away, its readers are told so, and commits go on without it. Row state goes on as if it had them.
 * When it takes appends again it gets the ops that come from then on, is compared with row state and mended, and its readers may come back.
 */
export interface Fence {
  /** Its number. */
  bucket: number
  /** ISO 8601 */
  since: string
  /** No op of it above this one was ever sent. */
  barrier: OpId
  /** What was served when it was fenced: the bucket has everything up to there, and is told of no later checkpoint. */
  served: OpId
  /** It has answered since then, so what was sent before cannot reach it any more, and is being compared. */
  answers: boolean
}

/**
 * While rows are compared with the source, one after the other, what is stored is no state that the source was ever in. Batches are committed all the
 * same, so that outbox and pipeline drain, but what is announced and served stands still: this checkpoint, under this plan.
 */
export interface Hold extends Serving {
  /** ISO 8601 */
  since: string
  /** The last op that was stored when the comparison was complete; null: it is not. From the commit of that op on, what is committed is served. */
  until: OpId | null
}
