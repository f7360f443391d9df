import type { DiagnosticCode, DiagnosticsStatus } from '../diagnostics.ts'
import type { OpId } from '../ops.ts'
import type { VerifyStatus } from '../verification.ts'
import type { DeployStatus, TableCopyStatus } from './admin.ts'

// How a tenant is, as `/status` and operators are told.

/**
 * `starting`: connecting, or not yet begun. `copying`: tables are being read. `live`: the stream is open. `idle`: nobody is connected, the next poll is at
 * `session.next`. `retrying`: the last session failed. `refused`: it cannot succeed until somebody changes the settings, the sync config or Postgres;
 * it is tried again all the same.
 */
export type ReplicatorState = 'starting' | 'copying' | 'live' | 'idle' | 'retrying' | 'refused'

/** Sessions with Postgres. Times as ISO 8601. */
export interface SessionStatus {
  /** Since when the present one runs, null between two; how many there were since the object started. */
  since: string | null
  count: number
  /** Row changes that the present one has taken in. */
  changes: number
  /** When the next one begins; null while one runs. */
  next: string | null
  /** Sessions that failed, and polls that found nothing, one after the other. */
  failures: number
  idlePolls: number
}

/** What the replication slot keeps in Postgres, as measured last. */
export interface SlotStatus {
  name: string
  measured: string
  /** `much`: half of WAL_KEEP_GB, or near `max_slot_wal_keep_size`; `over`: more than WAL_KEEP_GB; `lost`: Postgres has invalidated it. */
  level: 'ok' | 'much' | 'over' | 'lost'
  /** Measures in a row that were over WAL_KEEP_GB. */
  overs: number
  /** `reserved`, `extended`, `unreserved` or `lost`. */
  walStatus: string | null
  retainedBytes: number
  /** WAL behind what was acknowledged. */
  lagBytes: number
  /** What may still be written before the slot is in danger, and `max_slot_wal_keep_size`; null when there is no limit. */
  safeWalBytes: number | null
  maxKeepBytes: number | null
}

/** What the settings say of the source. Of the database URL neither user nor password. */
export interface SourceSettings {
  /** `host:port`, several with commas between them. */
  host: string
  database: string
  slot: string
  /** `WAL_KEEP_GB`, in bytes, and `WAL_POLICY`. */
  walKeepBytes: number
  walPolicy: 'keep' | 'drop-and-resync'
}

/** A look at the source, as an operator asked for it. */
export interface SourceLook {
  /** ISO 8601 */
  at: string
  /** How long it took. */
  ms: number
  /** The database answered, if only to refuse. */
  reachable: boolean
  /** Of Postgres, `18.1`; null when it did not say. */
  version: string | null
  /** Why a session would not get anywhere now, or what it would have to compare everything for: ROCKPOOL_SLOT_LOST, ROCKPOOL_SOURCE_CHANGED or an error of the source. */
  problem: { code: DiagnosticCode; message: string } | null
}

export interface SourceStatus {
  kind: 'postgres'
  /** Null when they are wrong: ROCKPOOL_SETTINGS. */
  settings: SourceSettings | null
  /** The last one; null: nobody has asked since the object started. */
  look: SourceLook | null
}

/** Rows are compared with Postgres, and clients stay at the last checkpoint of before. */
export interface ComparingStatus {
  /** ISO 8601 */
  since: string
  /** How much is compared, 0 to 1. */
  fraction: number
  /** Ops that are stored and not announced. */
  held: number
}

export interface ReplicatorStatus {
  tenant: string
  state: ReplicatorState
  /** What clients are told: the committed checkpoint, or the one that is held while rows are compared. */
  checkpoint: OpId
  /** Hash of the serving plan, null before the first copy is complete. */
  plan: string | null
  /** Commit LSN of the last stored transaction, `X/X`. */
  lsn: string | null
  /** WAL bytes between the source's end, as last heard, and what is stored; null when unknown. */
  lagBytes: number | null
  /** Commit time of the last stored transaction, ISO 8601. */
  lastCommit: string | null
  source: SourceStatus
  copy: { tables: TableCopyStatus[]; waitingFor: string | null } | null
  /** Null: what is committed is announced. */
  comparing: ComparingStatus | null
  deploy: DeployStatus
  /** The last comparison of everything, null when there was none. */
  verify: VerifyStatus | null
  relays: number
  /** Streams of clients that are open, and buckets, of which 100,000 at most are counted; only where the source was looked at. */
  openStreams?: number
  buckets?: number
  session: SessionStatus
  /** Null before the first session, and when there is no slot. */
  slot: SlotStatus | null
  /** Batches stored and not yet committed. */
  pendingBatches: number
  /** Buckets whose append fails at the moment. */
  failingBuckets: { bucket: string; attempts: number; error: string }[]
  /** Buckets that commits do not wait for. `comparing`: it takes appends again, and is compared and mended. */
  fencedBuckets: { bucket: string; since: string; state: 'silent' | 'comparing' }[]
  /** Tables that are followed, partitions one by one. */
  followedTables: number
  /** Tables of the sync config that serves, or is to serve, that cannot be followed, with what to do. */
  refusedTables: { table: string; reason: string }[]
  /** Rows that a query could not evaluate. */
  skippedRows: { count: number; recent: { table: string; key: string; reason: string }[] }
  /** The last problems. */
  diagnostics: DiagnosticsStatus
  /** What is in memory and not yet safe elsewhere: row changes not stored, UTF-16 units of ops not answered; and the most there ever was. */
  held: { changes: number; peakChanges: number; sending: number; peakSending: number }
  /** Since the replicator started: row changes and batches stored, rows that this wrote (as they are billed), and appends, each a row in a bucket. */
  written: { changes: number; batches: number; rows: number; appends: number }
  error: { code: string; message: string } | null
}

/** What operators are told: of the settings as well, with what they should know of them. */
export interface OperatorStatus extends ReplicatorStatus {
  placement: { location: string | null; jurisdiction: string | null }
  notes: string[]
}
