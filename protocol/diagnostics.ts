import type { ErrorCode } from './errors.ts'

/**
 * A problem after which the replicator continued. A session that ended is reported under the code of its error;
 * anything else has a code of its own. A code never changes its meaning; docs/operations.md says what to do about each.
 */
export type DiagnosticCode =
  | ErrorCode
  | 'ROCKPOOL_ROW_SKIPPED' // a query cannot evaluate a row, or what it yields is too large
  | 'ROCKPOOL_TABLE_REFUSED' // a table of the sync config cannot be followed
  | 'ROCKPOOL_PUBLICATION' // the publication sends tables that the sync config does not read
  | 'ROCKPOOL_RESYNC' // every table is compared again
  | 'ROCKPOOL_SLOT_LOST' // the slot is missing, or Postgres has invalidated it
  | 'ROCKPOOL_SLOT_FREED' // a dead session of ours held the slot and was ended
  | 'ROCKPOOL_SLOT_TIMEOUT' // Postgres may invalidate the slot while nobody is connected
  | 'ROCKPOOL_SLOT_FAILOVER' // standbys cannot be made to keep the slot
  | 'ROCKPOOL_STANDBY_AWAITED' // Postgres sends nothing until a standby has confirmed it
  | 'ROCKPOOL_WAL_KEPT' // the slot keeps much WAL
  | 'ROCKPOOL_WAL_DROPPED' // the slot kept more WAL than allowed and was dropped
  | 'ROCKPOOL_FORMER_SOURCE' // a slot is left in a database that the tenant had before
  | 'ROCKPOOL_BUCKET_FAILING' // a bucket does not accept its ops
  | 'ROCKPOOL_BUCKET_FENCED' // a bucket has accepted no ops for too long, and commits continue without it
  | 'ROCKPOOL_RELAY_SOCKET' // the socket to a relay cannot be opened
  | 'ROCKPOOL_DIFFERENCES' // a comparison has found differences
  | 'ROCKPOOL_FOREIGN_MARKER' // a message in the WAL under our prefix is not ours
  | 'ROCKPOOL_TLS_NOT_DEMANDED' // a deployment of an earlier version connects to Postgres in a way that will soon be refused
  | 'ROCKPOOL_CHANGE_SKIPPED' // a change killed the replicator each time it was processed
  | 'ROCKPOOL_TRANSACTION_SKIPPED' // a transaction was too large to be read to its end, and every table is compared
  | 'ROCKPOOL_RESTARTED' // the replicator died in the middle of a session

export interface Diagnostic {
  code: DiagnosticCode
  /** `schema.name` */
  table: string | null
  /** The key of a row as JSON, or the name of a bucket. For operators only. */
  key: string | null
  reason: string
  /** When it happened first and last, ISO 8601, and how often. */
  first: string
  last: string
  count: number
  /**
   * Set when it belongs to a sync config that was replaced. Clients are not affected: that sync config is kept only for
   * a rollback, or not at all.
   */
  replaced?: true
}

export interface DiagnosticsStatus {
  /** How often each code was reported since the tenant was created, including problems that have left `recent`. */
  counts: Partial<Record<DiagnosticCode, number>>
  /** Newest first. */
  recent: Diagnostic[]
}
