import { tableText } from '../../../protocol/tables.ts'
import type { Difference } from '../../../protocol/verification.ts'
import type { ReadContent } from '../copy/row-consumer.ts'
import { storeRow } from '../copy/store-rows.ts'
import type { Batch } from '../ingest/batch.ts'
import type { FollowedTable } from '../ingest/followed-table.ts'
import { isWeak, type RowState } from '../store/row-state.ts'
import { rowDifferences } from './row-differences.ts'

export interface TableCheckPorts {
  /** Returns a batch over another one that is never stored. */
  trial(batch: Batch): Batch
  /** Returns whether the row lacks values. Such a row is read again anyway. */
  isIncomplete(table: FollowedTable, key: string): boolean
  bucketName(number: number): string
  /** Differences are repaired, and not only reported. */
  repairs(): boolean
  report(difference: Difference): void
}

/**
 * Compares what was read with row state, at the place in the stream where what was read is right. To find what row
 * state should say of a row, the row is put into a batch that is thrown away. To repair it, the row is put into the
 * real one.
 */
export class TableCheck {
  readonly #ports: TableCheckPorts

  constructor(ports: TableCheckPorts) {
    this.#ports = ports
  }

  /** `found` is null when the source does not have the row. */
  compare(batch: Batch, table: FollowedTable, key: string, found: ReadContent | null): void {
    const { trial, isIncomplete, bucketName, repairs, report } = this.#ports
    if (isIncomplete(table, key)) return
    const tried = trial(batch)
    storeRow(tried, table, key, found)
    const wanted = tried.state(table, key)
    const differences = rowDifferences(asRead(batch.state(table, key), wanted, table), wanted)
    if (differences.length === 0) {
      // The row is equal by the weak hash that an older version stored. With a strong one, the buckets are compared
      // with what the source has.
      if (batch.state(table, key)?.outputs.some(({ hash }) => isWeak(hash))) storeRow(batch, table, key, found)
      return
    }
    const mended = repairs()
    if (mended) storeRow(batch, table, key, found)
    for (const { code, bucket, reason } of differences) {
      report({
        code,
        table: tableText(table),
        key,
        bucket: bucket === null ? null : bucketName(bucket),
        reason,
        mended,
      })
    }
  }
}

/**
 * Texts of columns that no query reads any more may be kept until the row changes, so they are left out of the
 * comparison.
 */
function asRead(known: RowState | null, wanted: RowState | null, { source }: FollowedTable): RowState | null {
  if (!known?.image) return known
  const read = source.readImage(known.image)
  if (read === known.image) return known
  return { ...known, image: wanted?.image === null ? null : read }
}
