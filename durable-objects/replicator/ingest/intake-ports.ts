import type { SourcePosition, StreamedTo } from '../../../sources/source.ts'
import type { Batch } from './batch.ts'
import type { Care } from './care.ts'
import type { FollowedTable } from './followed-table.ts'
import type { Incomplete, RowChangesPorts } from './row-changes.ts'
import type { Leaving, TransactionLimit } from './transaction-limit.ts'

// What `Intake` needs, and what it hands on.

/** Why a batch is stored now. */
export interface Flush {
  batch: Batch
  /** Behind the last whole transaction, and how much of the next one is stored with this. */
  position: StreamedTo['position']
  place: StreamedTo['place']
  incomplete: Incomplete
}

/** A transaction that is not read to its end. */
export interface LeftTransaction {
  why: Leaving
  /** Everything of it is stored. */
  whole: boolean
  /** Behind it. */
  position: SourcePosition
  batch: Batch
}

/** How changes that kill are found and skipped. */
export interface CareOf {
  care: Pick<Care, 'slice' | 'notes' | 'about' | 'trying' | 'waits'>
  /**
   * The change was skipped; an empty key is that of a TRUNCATE. `left`: what the row had put into buckets is still
   * there.
   */
  skipped(table: FollowedTable, key: string, left: boolean): void
}

export interface IntakePorts extends Omit<RowChangesPorts, 'batch'> {
  /** Changes at which a slice is made. */
  sliceChanges: number
  newBatch(): Batch
  store(flush: Flush): void
  /** Keys of a table in row state, for TRUNCATE: pages in order. */
  keys(table: FollowedTable, after: string, limit: number): string[]
  /**
   * A message of our own: at the place in the stream where its transaction commits, after everything before it. It
   * yields where it may wait for room.
   */
  marker(content: string): Iterable<undefined>
  /** A write checkpoint message, inside its transaction. */
  deliver(batch: Batch, content: string): void
  /** Whether more slices may be stored: what of a message is left waits for `resume`. */
  room(): boolean
  /**
   * Columns that the sync config names do not come any more: what comes is left out, and the table must be compared.
   */
  lacking?(table: FollowedTable): void
  /**
   * The stream describes a table that we do not follow (null), or otherwise than when this session began. What follows
   * waits for room.
   */
  unexpected(table: FollowedTable | null): void
  /** Absent: none is taken. */
  care?: CareOf
  /**
   * How large a transaction may be, and `left` when it is larger: nothing is taken in behind that. Absent: there is no
   * limit.
   */
  limit?: Pick<TransactionLimit, 'begin' | 'passed' | 'taken' | 'waits'>
  left?(transaction: LeftTransaction): void
}
