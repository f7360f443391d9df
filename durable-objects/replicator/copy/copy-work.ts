import type { FollowedTable } from '../ingest/followed-table.ts'
import type { CopyState } from './copy-state.ts'

/** What a `Copier` reads, and how far that is. */
export interface CopyWork {
  /** They are read in this order, one after the other. */
  readonly tables: readonly FollowedTable[]
  copyState(table: FollowedTable): CopyState
  progress(table: FollowedTable, copy: CopyState): void
  /** Returns up to `limit` keys of rows that lack values, all of one table, or null when there are none. */
  incomplete(limit: number): { table: FollowedTable; keys: string[] } | null
  /** Removes some rows of a table that is not followed any more. Returns `none` when there is no such table. */
  removeRetired(): Promise<'removed' | 'none'>
  /** The copier should stop: what is left is for another time. */
  isOver(): boolean
}
