import type { DiagnosticCode, DiagnosticsStatus } from '../diagnostics.ts'
import type { OpId } from '../ops.ts'
import type { VerifyStatus } from '../verification.ts'
import type { DeployStatus, TableCopyStatus } from './admin.ts'

// The state of a tenant, as `/status` and operators see it.

/**
 * `starting`: connecting, or not yet begun. `copying`: tables are being read. `live`: the stream is open. `idle`: no
 * client is connected, and the next poll is at `session.next`. `retrying`: the last session failed. `refused`: no
 * session can succeed until somebody changes the settings, the sync config or Postgres; sessions are tried anyway.
 * `paused`: the tenant has used what it may, see `paused`.
 */
export type ReplicatorState = 'starting' | 'copying' | 'live' | 'idle' | 'retrying' | 'refused' | 'paused'

/** The state of a tenant, as its objects know it. */
export type Standing = 'active' | 'suspended' | 'deleting'

/** Sessions with Postgres. Times as ISO 8601. */
export interface SessionStatus {
  /** When the current session began, or null between two; and how many there were since the object started. */
  since: string | null
  count: number
  /** Row changes that the current session has processed. */
  changes: number
  /** When the next session begins; null while one runs. */
  next: string | null
  /** Sessions that failed in a row, and polls in a row that found nothing. */
  failures: number
  idlePolls: number
}

/** What a tenant has used on a day of UTC, as far as its replicator knows. */
export interface UsageStatus {
  /** `YYYY-MM-DD` */
  day: string
  /** Rows written by the replicator, and one for each append to a bucket. */
  rows: number
  /** Calls of buckets, and sessions. */
  requests: number
  awakeSeconds: number
  /**
   * Bytes that replicator and buckets store, and when buckets were last asked, as ISO 8601. Null when that is not
   * limited, and not measured yet; an earlier version has neither.
   */
  storedBytes?: number | null
  storedMeasured?: string | null
}

/** Why there are no sessions: more rows than the tenant may write, or the budget of the deployment. ISO 8601. */
export interface PausedStatus {
  why: 'rowsPerDay' | 'storedGb' | 'deployment'
  since: string
  until: string
}

/** What the replication slot keeps in Postgres, as last measured. */
export interface SlotStatus {
  name: string
  measured: string
  /**
   * `much`: half of WAL_KEEP_GB, or near `max_slot_wal_keep_size`; `over`: more than WAL_KEEP_GB; `lost`: Postgres has
   * invalidated it.
   */
  level: 'ok' | 'much' | 'over' | 'lost'
  /** Measurements in a row that were over WAL_KEEP_GB. */
  overs: number
  /** `reserved`, `extended`, `unreserved` or `lost`. */
  walStatus: string | null
  retainedBytes: number
  /** WAL after the acknowledged position. */
  lagBytes: number
  /**
   * How much WAL may still be written before the slot is in danger, and `max_slot_wal_keep_size`; null when there is no
   * limit.
   */
  safeWalBytes: number | null
  maxKeepBytes: number | null
  /**
   * `synchronized_standby_slots` while Postgres waits for one of these standbys before it sends more; else null, and
   * missing in what earlier versions stored.
   */
  awaitedStandbys?: string | null
}

/** The settings of the source, without the user and password of the database URL. */
export interface SourceSettings {
  /** `host:port`, or several separated by commas. */
  host: string
  database: string
  slot: string
  /** `WAL_KEEP_GB`, in bytes, and `WAL_POLICY`. */
  walKeepBytes: number
  walPolicy: 'keep' | 'drop-and-resync'
}

/** An examination of the source that an operator asked for. */
export interface SourceLook {
  /** ISO 8601 */
  at: string
  /** How long it took. */
  ms: number
  /** True when the database answered, even if it refused. */
  reachable: boolean
  /** The version of Postgres, like `18.1`; null when it is not known. */
  version: string | null
  /**
   * Why a session would fail now, or would have to compare everything: ROCKPOOL_SLOT_LOST, ROCKPOOL_SOURCE_CHANGED or
   * an error of the source.
   */
  problem: { code: DiagnosticCode; message: string } | null
}

export interface SourceStatus {
  /** `postgres`. */
  kind: string
  /** Behind the last stored transaction, as this kind writes it. */
  position: string | null
  /**
   * What lies between the source's end, as last heard, and what is stored, in what this kind can tell; null when
   * unknown.
   */
  lag: { bytes?: number; seconds?: number } | null
  /**
   * What the source keeps for us, as measured last; its members are those of its kind, of Postgres those of `slot`.
   * Null when it keeps nothing.
   */
  health: object | null
  /** Null when they are wrong: ROCKPOOL_SETTINGS. */
  settings: SourceSettings | null
  /** The last examination; null when nobody has asked for one since the object started. */
  look: SourceLook | null
}

/** Set while rows are compared with Postgres and clients stay at the last checkpoint before that. */
export interface ComparingStatus {
  /** ISO 8601 */
  since: string
  /** How much is compared, 0 to 1. */
  fraction: number
  /** Ops that are stored but not yet announced. */
  held: number
}

export interface ReplicatorStatus {
  tenant: string
  state: ReplicatorState
  /**
   * The checkpoint that is announced to clients: the committed one, or the one that is held while rows are compared.
   */
  checkpoint: OpId
  /** The hash of the serving plan; null before the first copy is complete. */
  plan: string | null
  /** That is `source.position`; here for readers of older versions, as `lagBytes` and `slot` are. */
  lsn: string | null
  /** WAL bytes between the source's end, as last reported, and what is stored; null when unknown. */
  lagBytes: number | null
  /** Commit time of the last stored transaction, ISO 8601. */
  lastCommit: string | null
  source: SourceStatus
  copy: { tables: TableCopyStatus[]; waitingFor: string | null } | null
  /** Null when every committed checkpoint is announced. */
  comparing: ComparingStatus | null
  deploy: DeployStatus
  /** The last comparison of everything; null when there was none. */
  verify: VerifyStatus | null
  relays: number
  /** The state of the tenant, as the Directory has told it. An earlier version does not say it, nor the next one. */
  standing?: Standing
  /** Revocations of tokens that are in force. */
  revocations?: number
  /** The number of open client streams, and of buckets (counted up to 100,000). Only when the source was examined. */
  openStreams?: number
  buckets?: number
  session: SessionStatus
  /** Null before the first session and when there is no slot. */
  slot: SlotStatus | null
  /** Batches that are stored but not yet committed. */
  pendingBatches: number
  /** Buckets whose appends are failing. */
  failingBuckets: { bucket: string; attempts: number; error: string }[]
  /**
   * Buckets that commits do not wait for. `comparing`: the bucket accepts appends again, and is being compared and
   * repaired.
   */
  fencedBuckets: { bucket: string; since: string; state: 'silent' | 'comparing' }[]
  /** Followed tables; each partition is listed. */
  followedTables: number
  /** Tables that cannot be followed, of the sync config that serves or will serve, with what to do about each. */
  refusedTables: { table: string; reason: string }[]
  /** Rows that a query could not evaluate. */
  skippedRows: { count: number; recent: { table: string; key: string; reason: string }[] }
  /** The most recent problems. */
  diagnostics: DiagnosticsStatus
  /**
   * What is in memory and not yet safe elsewhere: row changes that are not stored, UTF-16 units of unanswered ops; and
   * the highest value of each so far.
   */
  held: { changes: number; peakChanges: number; sending: number; peakSending: number }
  /**
   * Since the replicator started: row changes and batches stored, rows written for them (as billed), and appends, each
   * of which writes a row in a bucket.
   */
  written: { changes: number; batches: number; rows: number; appends: number }
  /** An earlier version has neither of them. */
  usage?: UsageStatus
  paused?: PausedStatus | null
  error: { code: string; message: string } | null
}

/** The document for operators, which has the settings too, with notes about them. */
export interface OperatorStatus extends ReplicatorStatus {
  placement: { location: string | null; jurisdiction: string | null }
  notes: string[]
}
