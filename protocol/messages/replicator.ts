import type { OpId } from '../ops.ts'
import type { Revocation, Subject, TokenMark } from '../revocations.ts'
import type { VerifyAnswer } from '../verification.ts'
import type { Versioned } from '../versions.ts'
import type { ConfigsAnswer, DeployAnswer, DeployRequest, RollbackAnswer } from './admin.ts'
import type { ReplicatorStatus, Standing } from './status.ts'

// The calls of the Replicator object and their answers.

/** A committed checkpoint, and the hash of the plan that serves from there. */
export interface Serving {
  checkpoint: OpId
  plan: string | null
}

/** What is said of tokens along with another answer. Code of an earlier version says nothing, and refuses none. */
export interface Checked {
  /** The places of the refused ones among the `tokens` of the request. */
  revoked?: number[]
  /** The number of the newest revocation. */
  revision?: number
}

/**
 * A revocation, or that of its subject taken back. `number` orders what the Directory says: it grows, and a call that
 * comes late changes nothing. `by`: who asks.
 */
export type RevocationChange = { by: string; number?: number } & (
  { kind: 'revoke'; revocation: Revocation } | { kind: 'unrevoke'; subject: Subject }
)

/** A revocation as operators see it. `by`: who revoked; `at`: when, ISO 8601. */
export interface StoredRevocation extends Revocation {
  by: string
  at: string
}

export type { Standing }

export interface RemovedBuckets {
  removed: number
  after: number | null
  left: number
}

/** RPC of the Replicator object. */
export interface ReplicatorRpc {
  /** Stores the relay's name. From now on the replicator keeps a socket to it, until the relay refuses. */
  attach(request: Versioned & { relay: string }): Promise<void>
  /**
   * `bucket`: the caller, when it is a bucket with direct streams. Throws ROCKPOOL_BUCKET_FENCED, as `watch` does.
   * `tokens`: those of streams of a relay that are to be checked. `token`: of the request for which a Worker asks;
   * throws PSYNC_S2107.
   */
  committed(
    request: Versioned & { bucket?: string; tokens?: TokenMark[]; token?: TokenMark },
  ): Promise<Serving & Checked>
  /**
   * From now on, durably, `publish` notifies the bucket of every commit that touches it, until it answers `none`.
   * `tokens`: those of its new direct streams.
   */
  watch(request: Versioned & { bucket: string; tokens?: TokenMark[] }): Promise<Serving & Checked>
  /**
   * Called when a bucket knows of no client that follows it. The replicator asks it once more, and then stops notifying
   * it.
   */
  left(request: Versioned & { bucket: string }): Promise<void>
  /** A relay has as many streams as is to be told, or as it may have. Older code does not know this call. */
  streamsAt(request: Versioned & { level: 'warn' | 'refuse'; streams: number }): Promise<void>
  /** Returns the JSON text of a plan by its hash. */
  plan(request: Versioned & { hash: string }): Promise<string | null>
  /**
   * Writes a marker into Postgres and returns the number that will appear in the client's mailbox. Throws PSYNC_S2107
   * for a token that was revoked; a Worker of an earlier version does not say it.
   */
  writeCheckpoint(
    request: Versioned & { user: string; clientId: string; token?: TokenMark },
  ): Promise<{ writeCheckpoint: string }>
  /**
   * The same with a number that the client chose, decimal in 1 … 2^63-1. Returns this client's highest number, which is
   * the one that will appear.
   */
  checkpointRequest(
    request: Versioned & { user: string; clientId: string; id: string; token?: TokenMark },
  ): Promise<{ id: string }>
  /** `look`: also examine the source now, for at most 5 s (LOOK_MS). Older code ignores it. */
  status(request: Versioned & { look?: boolean }): Promise<ReplicatorStatus>
  /**
   * Deploys a sync config in the background. Throws ROCKPOOL_SYNC_CONFIG with its errors, ROCKPOOL_DEPLOY when it may
   * not be deployed, or an error of the database; nothing is stored then.
   */
  deploy(request: DeployRequest): Promise<DeployAnswer>
  /**
   * Returns to the sync config that served before, or to deploy number `to`. Throws as `deploy`. An earlier version
   * ignores `to`, and its answer lacks it.
   */
  rollback(request: Versioned & { dryRun: boolean; by?: string; to?: number }): Promise<RollbackAnswer>
  /**
   * Marks the sync config of this deploy so that it never serves again: no rollback returns to it, and no deploy
   * without `force`. Throws ROCKPOOL_DEPLOY.
   */
  withdraw(request: Versioned & { number: number; by: string }): Promise<ConfigsAnswer>
  configs(request: Versioned): Promise<ConfigsAnswer>
  /**
   * Compares everything in the background; with `repair` differences are repaired. Returns the running comparison if it
   * is of the same kind. Throws ROCKPOOL_VERIFY.
   */
  verify(request: Versioned & { repair: boolean; by?: string }): Promise<VerifyAnswer>
  verification(request: Versioned): Promise<VerifyAnswer>
  /** Cancels the running comparison; what it has repaired stays. Throws ROCKPOOL_VERIFY when there is none. */
  cancelVerify(request: Versioned): Promise<VerifyAnswer>
  /**
   * The Directory says in which state the tenant is. Unless it is `active`, streams and sessions end, and nothing but
   * these four calls and `status` is answered: ROCKPOOL_TENANT. A change ends the object, and the call with it: it is
   * made again, and answered when all relays and buckets have been told. `version`: of the tenant; what an older one
   * says came late and changes nothing.
   */
  standing(request: Versioned & { state: Standing; version: number }): Promise<{ streams: number }>
  /**
   * Stores a revocation and ends the streams of its tokens, or takes one back. Answered when all attached relays and
   * followed buckets have ended them; rejects when one does not answer, and may then be repeated. Also while the tenant
   * is suspended. Throws ROCKPOOL_TENANT_CONFLICT when there are too many.
   */
  revoke(request: Versioned & RevocationChange): Promise<{ streams: number }>
  /** Returns revocations that are in force, in the order of their subjects, those after `after`. */
  revocations(request: Versioned & { after?: Subject; limit: number }): Promise<StoredRevocation[]>
  /**
   * Removes what Rockpool made in the database. Of a tenant that is being deleted, as the next two. Throws as a session
   * does.
   */
  leaveSource(request: Versioned): Promise<void>
  /**
   * Erases the storage of some buckets, those after `after` in the order of their numbers. Returns where to go on, or
   * null when there are no more.
   */
  removeBuckets(request: Versioned & { after: number }): Promise<RemovedBuckets>
  /** Erases the storage of the replicator. */
  eraseAll(request: Versioned): Promise<void>
  /**
   * The dead man's switch: makes sure that an alarm is set if there is anything to do. `changed`: the tenant was
   * changed just now; a session with other settings ends, and the next one follows.
   */
  wake(request: Versioned & { changed?: boolean }): Promise<void>
  /**
   * Called before the process is ended on purpose, as `rockpool dev` does, so that a session that runs at that moment
   * does not count as failed.
   */
  stopping(request: Versioned): Promise<void>
}
