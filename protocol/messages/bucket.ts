import type { Part, RowsSum } from '../digest.ts'
import type { OpId } from '../ops.ts'
import type { ToldRevocation } from '../revocations.ts'
import type { Versioned } from '../versions.ts'
import type { Serving } from './replicator.ts'

// The calls of the Bucket object and their answers.

/**
 * A bucket at one checkpoint. `checksum` is unsigned; `last` is its last op ≤ that checkpoint, or 0 when there is none.
 */
export interface BucketState {
  count: number
  checksum: number
  last: OpId
}

/** Compaction rewrote history beyond that checkpoint: use a newer one. */
export type Overtaken = { kind: 'overtaken' }
/** The bucket was deleted. */
export type Gone = { kind: 'gone' }

export interface AppendRequest extends Versioned {
  first: OpId
  last: OpId
  /** The number of ops. */
  count: number
  /** The sum of their checksums, unsigned. */
  checksum: number
  /** The op texts (see `opText`), joined by `,`. */
  body: string
  /** The committed checkpoint when this was sent. Compaction changes nothing above it. */
  committed: OpId
}

export type StateAnswer = ({ kind: 'state' } & BucketState) | Overtaken | Gone
/**
 * `body` holds the `count` ops in (after, checkpoint]; it is empty when there are none. `last` is the id of the last of
 * them, else `after`.
 */
export type ReadAnswer = { kind: 'ops'; body: string; count: number; last: OpId; more: boolean } | Overtaken | Gone
/** `many`: there are more rows than the limit, or counting them would take more memory than the bucket may use. */
export type RowsAnswer = { kind: 'rows'; rows: string[] } | { kind: 'many' } | Overtaken | Gone

/**
 * Asks for the content of a bucket at a checkpoint, for a comparison. The same request is repeated while the answer is
 * `more`.
 */
export interface DigestRequest extends Versioned, Part {
  checkpoint: OpId
  /** Into how many subdivisions the part is split; each has its sum. */
  split: number
  /** Asks for the rows themselves instead of sums: the part is small. */
  list: boolean
  /** The number of the pass, from 0. Several passes limit how many rows are in memory at once. */
  pass: number
  /** See `Digester`. Absent in requests of a replicator of version 1, which expects hashes of `hash64`. */
  key?: string
}

export type DigestAnswer =
  | { kind: 'more' }
  | {
      kind: 'digest'
      /** The sums of this pass. The sums of all passes add up. */
      sums: RowsSum[]
      /**
       * Row keys (see `rowKey`), with the hash of the data and the weak hash that older row state has. Empty unless
       * `list`.
       */
      rows: { key: string; hash: string; weak?: string }[]
      /** Set when the key of the request was used. A bucket of version 1 does not know keys. */
      keyed?: boolean
      passes: number
      /** The totals that the bucket announces at the checkpoint, and those that its ops add up to. */
      announced: BucketState
      summed: BucketState
    }
  | Overtaken
  | Gone

/**
 * `used`: the bucket has a row, or an op above `before`. `empty`: the totals that it announces, and the newest op that
 * it knows.
 */
export type IdleAnswer = { kind: 'used' } | { kind: 'empty'; checksum: number; last: OpId }
/** False when the bucket has an op above `upTo`, or when a client follows it directly. */
export interface EraseAnswer {
  erased: boolean
}
export interface PublishAnswer {
  none: boolean
}

/** RPC of the Bucket object. Errors mean "try again": everything here is idempotent. */
export interface BucketRpc {
  /**
   * Stores a page, or ignores it when `last` ≤ head. Returns the state at `last`. The page is durable before the
   * answer.
   */
  append(request: AppendRequest): Promise<BucketState>
  state(request: Versioned & { checkpoint: OpId }): Promise<StateAnswer>
  /** Returns how many bytes its storage has. */
  size(request: Versioned): Promise<number>
  /** Returns whole pages up to about `budget` bytes of text, at least one op. */
  read(request: Versioned & { after: OpId; checkpoint: OpId; budget: number }): Promise<ReadAnswer>
  /**
   * Returns the data texts of the current rows. With `limit`, each text once and at most that many; without it, as the
   * version before asks, all of them in order of object type, id and subkey.
   */
  rows(request: Versioned & { checkpoint: OpId; limit?: number }): Promise<RowsAnswer>
  /** Called on a bucket that asked to be watched. `none`: no client follows it directly any more. */
  publish(request: Versioned & Serving): Promise<PublishAnswer>
  /**
   * Deletes the ops of a bucket that is not needed any more. From now on it answers `gone`, and ignores repeated
   * appends up to op `serial`.
   */
  remove(request: Versioned & { serial: OpId }): Promise<void>
  /** Returns whether the bucket has no row and no op above `before`. */
  idle(request: Versioned & { before: OpId }): Promise<IdleAnswer>
  /**
   * Deletes the storage of the object, which is then like one that was never written to. Does nothing if there is an op
   * above `upTo`, or if a client follows it.
   */
  erase(request: Versioned & { upTo: OpId }): Promise<EraseAnswer>
  digest(request: DigestRequest): Promise<DigestAnswer>
  /** Ends all direct streams, because the tenant is not served. */
  dismiss(request: Versioned): Promise<void>
  /** Ends direct streams of tokens that are refused from now on. Returns how many. */
  revoke(request: Versioned & ToldRevocation): Promise<number>
  /**
   * Makes the totals match the ops again, without an op. With `steps` it does a part of the work, and is called again
   * while there is `more`. Without `steps`, as the version before calls it, it does everything; a bucket of that
   * version always does, and returns nothing.
   */
  mend(request: Versioned & { steps?: boolean }): Promise<{ more: boolean } | undefined>
}
