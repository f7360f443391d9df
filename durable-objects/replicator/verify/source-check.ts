import { tableText } from '../../../protocol/tables.ts'
import type { SourceRow } from '../../../protocol/values.ts'
import type { Difference } from '../../../protocol/verification.ts'
import type { Batch } from '../ingest/batch.ts'
import type { FollowedTable } from '../ingest/followed-table.ts'
import { isWeak, type RowImage, type RowState } from '../store/row-state.ts'
import { rowDifferences } from './row-differences.ts'

/** A row as it was read. `row` is null when only the number of equal rows is known. */
export interface FoundRow {
  row: SourceRow | null
  image: RowImage | null
  copies: number
}

export interface SourceCheckPorts {
  /** A batch over another one that is never stored. */
  trial(batch: Batch): Batch
  /** The row lacks values, and is read again anyway. */
  isIncomplete(table: FollowedTable, key: string): boolean
  bucketName(number: number): string
  repair(): boolean
  found(difference: Difference): void
}

/**
 * Compares what was read with row state, at the place in the stream where what was read is right. What a row should be in row state is found by
 * putting it into a batch that is thrown away; to mend it is to put it into the real one.
 */
export class SourceCheck {
  readonly #ports: SourceCheckPorts

  constructor(ports: SourceCheckPorts) {
    this.#ports = ports
  }

  /** `found` null: the row is not there. */
  compare(batch: Batch, table: FollowedTable, key: string, found: FoundRow | null): void {
    const { trial, isIncomplete, bucketName, repair, found: tell } = this.#ports
    if (isIncomplete(table, key)) return
    const tried = trial(batch)
    put(tried, table, key, found)
    const wanted = tried.state(table, key)
    const differences = rowDifferences(asRead(batch.state(table, key), wanted, table), wanted)
    if (differences.length === 0) {
      // The same by the weak hash that is stored: by a strong one, the buckets are compared with what Postgres has.
      if (batch.state(table, key)?.outputs.some(({ hash }) => isWeak(hash))) put(batch, table, key, found)
      return
    }
    const mended = repair()
    if (mended) put(batch, table, key, found)
    for (const { code, bucket, reason } of differences) {
      tell({ code, table: tableText(table), key, bucket: bucket === null ? null : bucketName(bucket), reason, mended })
    }
  }
}

/** Texts of columns that nobody reads any more may be kept until the row changes. */
function asRead(known: RowState | null, wanted: RowState | null, { source }: FollowedTable): RowState | null {
  if (!known?.image) return known
  const read = source.readImage(known.image)
  if (read === known.image) return known
  return { ...known, image: wanted?.image === null ? null : read }
}

function put(batch: Batch, table: FollowedTable, key: string, found: FoundRow | null): void {
  if (found === null) batch.remove(table, key)
  else if (found.row !== null) batch.upsert(table, key, found.row, found.image, found.copies, 'read')
  else batch.setCopies(table, key, found.copies)
}
