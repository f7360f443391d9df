import type { OpId } from '../ops.ts'
import type { VerifyAnswer } from '../verification.ts'
import type { Versioned } from '../versions.ts'
import type { ConfigsAnswer, DeployAnswer, DeployRequest, RollbackAnswer } from './admin.ts'
import type { ReplicatorStatus } from './status.ts'

// What the Replicator object is asked, and answers.

/** What is committed, and the hash of the plan that serves from there. */
export interface Serving {
  checkpoint: OpId
  plan: string | null
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
