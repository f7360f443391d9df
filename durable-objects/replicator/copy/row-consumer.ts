import type { SourceRow } from '../../../protocol/values.ts'
import type { Batch } from '../ingest/batch.ts'
import type { FollowedTable } from '../ingest/followed-table.ts'
import type { Intake } from '../ingest/intake.ts'
import type { RowImage } from '../store/row-state.ts'

/** A row as it was read. `row` is null when only the number of equal rows is known. */
export interface ReadContent {
  row: SourceRow | null
  image: RowImage | null
  /** How many equal rows there are; 1 for a row with a key. */
  copies: number
}

/** What becomes of the rows that a `Copier` reads, each at the place in the stream where what was read is right. */
export interface RowConsumer {
  /** A read has reached its place: its rows follow. */
  begin(): void
  /** A row that was read, or null when it is gone from the source. */
  take(batch: Batch, settle: Intake['settle'], table: FollowedTable, key: string, found: ReadContent | null): void
  /**
   * Returns whether the row is noted in storage before it is taken, because it may be one that kills the replicator.
   */
  isNoted(table: FollowedTable, key: string): boolean
}
