import type { SourceTable } from '../../../sources/source.ts'
import type { BatchTable } from './batch.ts'

/** A replicated table: our number for it, and what the source knows it by. */
export interface FollowedTable extends BatchTable {
  source: SourceTable
}
