import type { Part, RowsSum } from '../digest.ts'
import type { OpId } from '../ops.ts'
import type { Versioned } from '../versions.ts'
import type { Serving } from './replicator.ts'

// What the Bucket object is asked, and answers.

/** A bucket at one checkpoint. `checksum` unsigned; `last` is its last op ≤ that checkpoint, 0 when there is none. */
export interface BucketState {
  count: number
  checksum: number
  last: OpId
}

/** Compaction rewrote history beyond that checkpoint: go to a newer one. */
export type Overtaken = { kind: 'overtaken' }
/** The bucket was deleted. */
export type Gone = { kind: 'gone' }

export interface AppendRequest extends Versioned {
  first: OpId
  last: OpId
  /** Number of ops. */
  count: number
  /** Sum of their checksums, unsigned. */
  checksum: number
  /** The ops' texts (see `opText`) joined by `,`. */
  body: string
  /** The committed checkpoint when this was sent: compaction touches nothing above it. */
  committed: OpId
}

export type StateAnswer = ({ kind: 'state' } & BucketState) | Overtaken | Gone
/** `body` holds `count` ops in (after, checkpoint]; empty when there are none. `last` is the id of the last of them (else `after`). */
export type ReadAnswer = { kind: 'ops'; body: string; count: number; last: OpId; more: boolean } | Overtaken | Gone
/** `many`: more than were asked for at most, or more than the bucket may hold in memory to find out. */
export type RowsAnswer = { kind: 'rows'; rows: string[] } | { kind: 'many' } | Overtaken | Gone

/** What a bucket holds at a checkpoint, for a comparison. Repeated as it is while it is answered with `more`. */
export interface DigestRequest extends Versioned, Part {
  checkpoint: OpId
  /** Sums of so many parts of the part. */
  split: number
  /** The rows themselves instead: the part is small. */
  list: boolean
  /** From 0: one pass remembers only so many rows at a time. */
  pass: number
  /** See `Digester`. Absent: a replicator of version 1 asks, and hashes of contents are those of `hash64`. */
  key?: string
}

export type DigestAnswer =
  | { kind: 'more' }
  | {
      kind: 'digest'
      /** Of this pass; the sums of all passes add up. */
      sums: RowsSum[]
      /** Keys of rows (see `rowKey`) with the hash of their data, and the weak one by which older row state knows some; empty unless `list`. */
      rows: { key: string; hash: string; weak?: string }[]
      /** That the key of the request was used. A bucket of version 1 does not know it. */
      keyed?: boolean
      passes: number
      /** What the bucket announces at the checkpoint, and what its ops add up to. */
      announced: BucketState
      summed: BucketState
    }
  | Overtaken
  | Gone

/** `used`: a row is in it, or an op above the one that was named. `empty`: what it announces, and the newest op that it knows. */
export type IdleAnswer = { kind: 'used' } | { kind: 'empty'; checksum: number; last: OpId }
/** False: it has an op above the one that was named, or somebody follows it directly. */
export interface EraseAnswer {
  erased: boolean
}
export interface PublishAnswer {
  none: boolean
}

/** RPC of the Bucket object. Errors mean "try again": everything here is idempotent. */
export interface BucketRpc {
  /** Stores a page, or ignores it when `last` ≤ head. Answers the state at `last`. Durable before the answer. */
  append(request: AppendRequest): Promise<BucketState>
  state(request: Versioned & { checkpoint: OpId }): Promise<StateAnswer>
  /** Whole pages up to about `budget` bytes of text, at least one op. */
  read(request: Versioned & { after: OpId; checkpoint: OpId; budget: number }): Promise<ReadAnswer>
  /**
   * The data texts of the current rows: with `limit` each once and so many at most, without it, as the version before asks, all in order of object
   * type, id and subkey.
   */
  rows(request: Versioned & { checkpoint: OpId; limit?: number }): Promise<RowsAnswer>
  /** To a bucket that asked to be watched. `none`: nobody follows it directly any more. */
  publish(request: Versioned & Serving): Promise<PublishAnswer>
  /** The bucket is not needed any more: its ops are deleted, and it answers `gone`. Appends up to op `serial` that come again are ignored. */
  remove(request: Versioned & { serial: OpId }): Promise<void>
  /** Whether no row is in it, and no op of it is above `before`. */
  idle(request: Versioned & { before: OpId }): Promise<IdleAnswer>
  /** Deletes the storage of the object, unless an op above `upTo` has come, or somebody follows it. Then it is as one that was never written to. */
  erase(request: Versioned & { upTo: OpId }): Promise<EraseAnswer>
  digest(request: DigestRequest): Promise<DigestAnswer>
  /**
   * Makes ops and totals fit each other again, without an op. With `steps` a part of it: to be asked again while there is `more`. Without, as the version before asks,
   * all of it; a bucket of that version does all of it in any case, and answers nothing.
   */
  mend(request: Versioned & { steps?: boolean }): Promise<{ more: boolean } | undefined>
}
