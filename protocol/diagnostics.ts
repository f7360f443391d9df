import type { ErrorCode } from './errors.ts'

/**
 * What the replicator met and went on after. A session that ended is told under the code of its error; what is no error of a session has a
 * code of its own. A code never changes its meaning; docs/operations.md says what to do about each.
 */
export type DiagnosticCode =
  | ErrorCode
  | 'ROCKPOOL_ROW_SKIPPED' // a query cannot evaluate a row, or what it yields is too large
  | 'ROCKPOOL_TABLE_REFUSED' // a table of the sync config cannot be followed
  | 'ROCKPOOL_PUBLICATION' // the publication sends tables that nobody reads
  | 'ROCKPOOL_RESYNC' // every table is compared again
  | 'ROCKPOOL_SLOT_LOST' // the slot is missing, or Postgres has invalidated it
  | 'ROCKPOOL_SLOT_FREED' // a dead session of ours was ended, which held the slot
  | 'ROCKPOOL_SLOT_TIMEOUT' // Postgres may invalidate the slot while nobody is connected
  | 'ROCKPOOL_WAL_KEPT' // the slot keeps much WAL
  | 'ROCKPOOL_WAL_DROPPED' // the slot kept more WAL than allowed and was dropped
  | 'ROCKPOOL_BUCKET_FAILING' // a bucket does not take its ops
  | 'ROCKPOOL_BUCKET_FENCED' // it has taken none for too long, and commits go on without it
  | 'ROCKPOOL_RELAY_SOCKET' // the socket to a relay cannot be opened
  | 'ROCKPOOL_DIFFERENCES' // a comparison has found some
  | 'ROCKPOOL_FOREIGN_MARKER' // a message in the WAL under our prefix is not ours
  | 'ROCKPOOL_TLS_NOT_DEMANDED' // a deployment of an earlier version reaches Postgres in a way that is refused soon
  | 'ROCKPOOL_CHANGE_SKIPPED' // a change ended the replicator each time it came
  | 'ROCKPOOL_RESTARTED' // the replicator ended in the middle of a session

export interface Diagnostic {
  code: DiagnosticCode
  /** `schema.name` */
  table: string | null
  /** Of a row, as JSON; or the name of a bucket. For operators only. */
  key: string | null
  reason: string
  /** When it was met first and last, ISO 8601, and how often. */
  first: string
  last: string
  count: number
  /** It is of a sync config that was replaced, and that is kept for a rollback alone or not at all: clients see nothing of it. */
  replaced?: true
}

export interface DiagnosticsStatus {
  /** How often each code was met since the tenant began, also what `recent` does not hold any more. */
  counts: Partial<Record<DiagnosticCode, number>>
  /** Newest first. */
  recent: Diagnostic[]
}
