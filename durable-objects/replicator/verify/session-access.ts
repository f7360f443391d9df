import type { Pausing } from '../ingest/between-transactions.ts'
import type { FollowedTable } from '../ingest/followed-table.ts'

/** The session, as a comparison needs it. */
export interface SessionAccess extends Pausing {
  tables: readonly FollowedTable[]
  /** The session is about to end: what is left is for the next one. */
  isOver(): boolean
}
