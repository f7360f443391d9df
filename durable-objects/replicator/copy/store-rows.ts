import type { Batch } from '../ingest/batch.ts'
import type { Care } from '../ingest/care.ts'
import type { FollowedTable } from '../ingest/followed-table.ts'
import type { ReadContent, RowConsumer } from './row-consumer.ts'

/** Stores the rows that are read, as a copy does. */
export const storeRows = (care: Pick<Care, 'notes'>): RowConsumer => ({
  begin() {},
  take(batch, settle, table, key, found) {
    storeRow(batch, table, key, found)
    // A row of a counted table never lacks values.
    if (!table.source.counted) settle(table, key, false)
  },
  isNoted: (table, key) => care.notes(table, key),
})

/** Puts a row into the batch as it was read. `found` is null when the row is gone. */
export function storeRow(batch: Batch, table: FollowedTable, key: string, found: ReadContent | null): void {
  if (found === null) batch.remove(table, key)
  else if (found.row !== null) batch.upsert(table, key, found.row, found.image, found.copies, 'read')
  else batch.setCopies(table, key, found.copies)
}
