import type { DiagnosticCode, DiagnosticsStatus } from './diagnostics.ts'
import type { Part, RowsSum } from './digest.ts'
import type { OpId } from './ops.ts'
import type { VerifyAnswer, VerifyStatus } from './verification.ts'

/**
 * Private messages between our own objects and Workers. Deploys replace Workers at once and objects up to five minutes later, so for some minutes
 * code of two versions talks to each other, either way round: a message is understood when its version is the own one or one beside it.
 *
 * What makes that true when this number is raised: receivers ignore members that they do not know. A new version may add members, and its code does
 * without them when they are missing; it may leave out only what the version before did not need. Whatever cannot be done so takes two versions.
 */
export const MESSAGE_VERSION = 2
/** Whether code of version `own` understands a message of this version. */
export const understands = (version: number, own: number = MESSAGE_VERSION): boolean => Math.abs(version - own) <= 1
export type Versioned = { v: number }

/** A bucket at one checkpoint. `checksum` unsigned; `last` is its last op ≤ that checkpoint, 0 when there is none. */
export interface BucketState {
  count: number
  checksum: number
  last: OpId
}

/** Compaction rewrote history beyond that checkpoint: go to a newer one. */
export type Overtaken = { kind: 'overtaken' }
/** The bucket was deleted. */
export type Gone = { kind: 'gone' }

export interface AppendRequest extends Versioned {
  first: OpId
  last: OpId
  /** Number of ops. */
  count: number
  /** Sum of their checksums, unsigned. */
  checksum: number
  /** The ops' texts (see `opText`) joined by `,`. */
  body: string
  /** The committed checkpoint when this was sent: compaction touches nothing above it. */
  committed: OpId
}

export type StateAnswer = ({ kind: 'state' } & BucketState) | Overtaken | Gone
/** `body` holds `count` ops in (after, checkpoint]; empty when there are none. `last` is the id of the last of them (else `after`). */
export type ReadAnswer = { kind: 'ops'; body: string; count: number; last: OpId; more: boolean } | Overtaken | Gone
/** `many`: more than were asked for at most, or more than the bucket may hold in memory to find out. */
export type RowsAnswer = { kind: 'rows'; rows: string[] } | { kind: 'many' } | Overtaken | Gone

/** What a bucket holds at a checkpoint, for a comparison. Repeated as it is while it is answered with `more`. */
export interface DigestRequest extends Versioned, Part {
  checkpoint: OpId
  /** Sums of so many parts of the part. */
  split: number
  /** The rows themselves instead: the part is small. */
  list: boolean
  /** From 0: one pass remembers only so many rows at a time. */
  pass: number
  /** See `Digester`. Absent: a replicator of version 1 asks, and hashes of contents are those of `hash64`. */
  key?: string
}

export type DigestAnswer =
  | { kind: 'more' }
  | {
      kind: 'digest'
      /** Of this pass; the sums of all passes add up. */
      sums: RowsSum[]
      /** Keys of rows (see `rowKey`) with the hash of their data, and the weak one by which older row state knows some; empty unless `list`. */
      rows: { key: string; hash: string; weak?: string }[]
      /** That the key of the request was used. A bucket of version 1 does not know it. */
      keyed?: boolean
      passes: number
      /** What the bucket announces at the checkpoint, and what its ops add up to. */
      announced: BucketState
      summed: BucketState
    }
  | Overtaken
  | Gone

/** `used`: a row is in it, or an op above the one that was named. `empty`: what it announces, and the newest op that it knows. */
export type IdleAnswer = { kind: 'used' } | { kind: 'empty'; checksum: number; last: OpId }
/** False: it has an op above the one that was named, or somebody follows it directly. */
export interface EraseAnswer {
  erased: boolean
}

/** RPC of the Bucket object. Errors mean "try again": everything here is idempotent. */
export interface BucketRpc {
  /** Stores a page, or ignores it when `last` ≤ head. Answers the state at `last`. Durable before the answer. */
  append(request: AppendRequest): Promise<BucketState>
  state(request: Versioned & { checkpoint: OpId }): Promise<StateAnswer>
  /** Whole pages up to about `budget` bytes of text, at least one op. */
  read(request: Versioned & { after: OpId; checkpoint: OpId; budget: number }): Promise<ReadAnswer>
  /**
   * The data texts of the current rows: with `limit` each once and so many at most, without it, as the version before asks, all in order of object
   * type, id and subkey.
   */
  rows(request: Versioned & { checkpoint: OpId; limit?: number }): Promise<RowsAnswer>
  /** To a bucket that asked to be watched. `none`: nobody follows it directly any more. */
  publish(request: Versioned & Serving): Promise<PublishAnswer>
  /** The bucket is not needed any more: its ops are deleted, and it answers `gone`. Appends up to op `serial` that come again are ignored. */
  remove(request: Versioned & { serial: OpId }): Promise<void>
  /** Whether no row is in it, and no op of it is above `before`. */
  idle(request: Versioned & { before: OpId }): Promise<IdleAnswer>
  /** Deletes the storage of the object, unless an op above `upTo` has come, or somebody follows it. Then it is as one that was never written to. */
  erase(request: Versioned & { upTo: OpId }): Promise<EraseAnswer>
  digest(request: DigestRequest): Promise<DigestAnswer>
  /**
   * Makes ops and totals fit each other again, without an op. With `steps` a part of it: to be asked again while there is `more`. Without, as the version before asks,
   * all of it; a bucket of that version does all of it in any case, and answers nothing.
   */
  mend(request: Versioned & { steps?: boolean }): Promise<{ more: boolean } | undefined>
}

/** What is committed, and the hash of the plan that serves from there. */
export interface Serving {
  checkpoint: OpId
  plan: string | null
}

export interface PublishAnswer {
  none: boolean
}

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

/** `script`: the one that the script carries. `rollback`: the one that served before. */
export type ConfigOrigin = 'script' | 'admin' | 'rollback'

/** A sync config that was deployed. Times as ISO 8601. */
export interface ConfigStatus {
  /** From 1, in the order in which they were deployed. */
  number: number
  origin: ConfigOrigin
  /**
   * `copying`: it is to serve, and what its new definitions need is being copied. `serving`: clients have it. `previous`: it served, and is still maintained,
   * so that it can serve again at once. `failed`: see `error`. `superseded`: given up, or out of use for longer than RETIRE_GRACE_SECONDS.
   */
  state: 'copying' | 'serving' | 'previous' | 'failed' | 'superseded'
  /** Hash of its plan, null when it has none. */
  plan: string | null
  created: string
  /** Since when it serves or served, and when it ceased to; null: never. */
  served: string | null
  retired: string | null
  error: { code: string; message: string } | null
  /** Tables that its new definitions read, with the rows that they were thought to have. */
  copy: TableEstimate[]
  /** Who asked for it, as `sub` of the token says. Missing: the script, or a record of an earlier version. */
  by?: string
  /** Of a rollback, the number of the deploy that it goes back to. Missing: a record of an earlier version. */
  of?: number
  /** It must never serve again. */
  withdrawn?: { at: string; by: string }
}

export interface TableEstimate {
  /** `schema.name` */
  table: string
  rows: number
}

/** Of a deploy. */
export interface DeployStatus {
  serving: ConfigStatus | null
  next: ConfigStatus | null
  /** The newest one, if it could not be deployed. */
  failed: ConfigStatus | null
  /** How much of what `next` needs is copied, 0 to 1; null without one. */
  progress: number | null
  /** Definitions out of use whose buckets are being deleted. */
  dropping: number
}

/** A definition, lookup or event, as the sync config calls it. */
export interface PartStatus {
  kind: 'data' | 'lookup' | 'event'
  name: string
}

/** What a deploy changes. */
export interface DeployDifference {
  plan: string
  /**
   * `kept`: clients keep what they have. `again`: they served before, and are maintained still, so nothing of theirs is copied, and clients get them at once.
   * Missing: there are none, or a version answers that counts them among `kept`.
   */
  definitions: { kept: PartStatus[]; again?: PartStatus[]; added: PartStatus[]; removed: PartStatus[] }
  copy: TableEstimate[]
  /** Tables that cannot be followed. */
  refused: { table: string; reason: string }[]
  /** Streams of clients that are open. */
  streams: number
  /** `error`: by the tables of the database, and the deploy goes on only by force. An earlier version does not say. */
  warnings: { level?: 'error' | 'warning'; code: string; message: string; place: { line: number; column: number } }[]
}

export interface DeployRequest extends Versioned {
  yaml: string
  /** Only what it would change. */
  dryRun: boolean
  /** Also when tables of new definitions cannot be followed, or have no id. */
  force: boolean
  /** Only when this is the hash of the serving plan. */
  ifMatch: string | null
  /** Of the operator's token, `sub`. */
  by?: string
}

/** `config`: null for a dry run. */
export interface DeployAnswer {
  config: ConfigStatus | null
  difference: DeployDifference
}

/** `cancelled`: there was a deploy under way, and it was given up instead. */
export interface RollbackAnswer {
  config: ConfigStatus | null
  cancelled: ConfigStatus | null
  difference: DeployDifference | null
  /** The number of the deploy that it goes back to. An earlier version does not say. */
  to?: number | null
}

/** `yaml`: text of the serving one, '' when it is not known. */
export interface ConfigsAnswer extends DeployStatus {
  yaml: string
  /** Newest first. */
  history: ConfigStatus[]
  tables: TableCopyStatus[]
  waitingFor: string | null
}

export interface TableCopyStatus {
  table: string
  /** `removing`: it is not followed any more, its rows are taken out of the buckets. */
  state: 'waiting' | 'copying' | 'done' | 'removing'
  /** Blocks read of blocks at the start. */
  block: number
  blocks: number
  rows: number
  /** 0 to 1, over all its partitions. */
  progress: number
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

/** RPC of the Relay object. */
export interface RelayRpc {
  /** How many streams are open. */
  streams(request: Versioned): Promise<number>
}

/** RPC of the Replicator object. */
export interface ReplicatorRpc {
  /** Stores the relay's name; from now on the replicator keeps a socket to it until it refuses. */
  attach(request: Versioned & { relay: string }): Promise<void>
  /** `bucket`: who asks, when it is a bucket with direct streams. Throws ROCKPOOL_BUCKET_FENCED, as `watch` does. */
  committed(request: Versioned & { bucket?: string }): Promise<Serving>
  /** Durably: the bucket is told by `publish` of every commit that touches it, until it answers `none`. */
  watch(request: Versioned & { bucket: string }): Promise<Serving>
  /** Nobody follows the bucket any more, as far as it knows: it is asked, and then not told any more. */
  left(request: Versioned & { bucket: string }): Promise<void>
  /** JSON text of a plan by its hash. */
  plan(request: Versioned & { hash: string }): Promise<string | null>
  /** Emits a marker into Postgres and answers the number that will appear in the client's mailbox. */
  writeCheckpoint(request: Versioned & { user: string; clientId: string }): Promise<{ writeCheckpoint: string }>
  /** The same with a number that the client chose, decimal in 1 … 2^63-1. Answers the highest one of this client, which is the one to come. */
  checkpointRequest(request: Versioned & { user: string; clientId: string; id: string }): Promise<{ id: string }>
  /** `look`: the source is looked at now, in at most 5 s (LOOK_MS); older code does not. */
  status(request: Versioned & { look?: boolean }): Promise<ReplicatorStatus>
  /**
   * Deploys a sync config, in the background. Throws ROCKPOOL_SYNC_CONFIG with its errors, ROCKPOOL_DEPLOY when it may not be deployed, or an error of the
   * database; then nothing is stored.
   */
  deploy(request: DeployRequest): Promise<DeployAnswer>
  /** Back to the sync config that served before, or to that of a number. Throws as `deploy`. An earlier version does not know of `to`, and its answer lacks it. */
  rollback(request: Versioned & { dryRun: boolean; by?: string; to?: number }): Promise<RollbackAnswer>
  /** The sync config of this number never serves again: no rollback goes there, and no deploy without `force`. Throws ROCKPOOL_DEPLOY. */
  withdraw(request: Versioned & { number: number; by: string }): Promise<ConfigsAnswer>
  configs(request: Versioned): Promise<ConfigsAnswer>
  /** Compares everything, in the background; with `repair` differences are mended. One that is under way is answered when it is of the same kind. Throws ROCKPOOL_VERIFY. */
  verify(request: Versioned & { repair: boolean; by?: string }): Promise<VerifyAnswer>
  verification(request: Versioned): Promise<VerifyAnswer>
  /** Ends one that is under way; what it has mended stays. Throws ROCKPOOL_VERIFY when there is none. */
  cancelVerify(request: Versioned): Promise<VerifyAnswer>
  /** The dead man's switch: makes sure that an alarm stands if there is anything to do. */
  wake(request: Versioned): Promise<void>
  /** The process is about to be ended on purpose, as `rockpool dev` does: a session that runs then has not been ended by a fault. */
  stopping(request: Versioned): Promise<void>
}

/**
 * How a frame calls buckets. `name`: as `frameName` does. Absent: by `hashName`, as code of version 1 does; to such code frames are sent in that form, without ops.
 * A relay speaks both, towards each socket the form of its other end; version 3 may leave the older one out.
 */
export type NameForm = 'name'

/** One bucket in a notice: its name, state, and the ops' texts joined by `,` when they are few, else null. */
export type NoticeBucket = [name: string, count: number, checksum: number, last: OpId, ops: string | null]

/**
 * Replicator → relay. The socket is opened by the replicator with `GET /replicator?serial=n`; a relay without streams answers 410, else 101
 * with the headers `rockpool-checkpoint` (the checkpoint it has, or empty), `rockpool-names` (the form of names that it takes, see `NameForm`) and
 * `rockpool-fences` (it understands `fenced`: buckets, as frames call them, that lack ops. Their streams are ended; a gap at the same checkpoint may change the list).
 */
export type ReplicatorFrame =
  | (Versioned & {
      type: 'notice'
      checkpoint: OpId
      previous: OpId
      plan: string | null
      /** From 1; a notice takes effect with its last part. */
      part: number
      parts: number
      form?: NameForm | undefined
      fenced?: string[]
      buckets: NoticeBucket[]
    })
  | (Versioned & {
      type: 'gap'
      checkpoint: OpId
      plan: string | null
      form?: NameForm | undefined
      fenced?: string[]
      /** How much is compared, 0 to 1, while that is why the checkpoint stands still; it may change at the same checkpoint. Absent, as in a notice: nothing is. */
      comparing?: number | undefined
    })

/** Receiver → sender on both relay sockets: bytes of frames received since the socket opened. Credit for the sender. */
export type AckFrame = Versioned & { type: 'ack'; received: number }

/** Stream → relay. `add` are bucket names, however long; `remove` is what `form` says. */
export type SubscribeFrame = Versioned & { type: 'subscribe'; seq: number; form?: NameForm | undefined; add: string[]; remove: string[] }

/**
 * Relay → stream: from now on all buckets subscribed are at `checkpoint`; those listed changed. `seq` answers that subscription. The first one says by its
 * `form` what the relay understands.
 */
export type RelayFrame = Versioned & {
  type: 'update'
  checkpoint: OpId
  plan: string | null
  seq: number | null
  form?: NameForm | undefined
  /** See `ReplicatorFrame`. */
  comparing?: number | undefined
  buckets: NoticeBucket[]
}

/** Unacknowledged bytes at which a sender stops and marks the receiver behind. `WebSocket.send` neither blocks nor reports. */
export const SOCKET_CREDIT = 256 * 1024
/** Sent by the replicator and streams every 30 s as plain text and answered `pong` by the runtime without waking the object. */
export const PING = 'ping'
export const PONG = 'pong'

/** A relay closes a stream's socket so when it has no room for the buckets that the stream subscribes: another relay may have. */
export const CLOSE_RELAY_FULL = 1013
/** A bucket of the stream lacks ops. */
export const CLOSE_BUCKET_FENCED = 4504
/** A relay closes a stream so when a newer one of the same user has taken its place: opening another one would only end a third. */
export const CLOSE_USER_STREAMS = 4429
