import type { BucketRpc } from '../protocol/messages/bucket.ts'
import type { DirectoryRpc } from '../protocol/messages/directory.ts'
import type { RelayRpc } from '../protocol/messages/relay.ts'
import type { ReplicatorRpc } from '../protocol/messages/replicator.ts'
import type { TenantBindings } from '../tenants/of-environment.ts'

/**
 * An object as its callers know it. Its class is not named here, because whatever imports the bindings would import all
 * code of the class too.
 */
type Called<Calls> = Calls & Rpc.DurableObjectBranded

/** Bindings of the one script; wrangler.toml declares them. */
export interface Environment extends TenantBindings {
  /** Set only by tests: see `fault-points.ts`. */
  FAULTS?: string
  /** Rate limits of failures per address, and of streams and write checkpoints per user: see `workers/rates.ts`. */
  RATE_FAILURES?: RateLimit
  RATE_STREAMS?: RateLimit
  RATE_WRITES?: RateLimit
  /** A VPC network, or whatever else has `connect()`: connections to the database are opened through it. */
  SOURCE_BINDING?: unknown
  REPLICATOR: DurableObjectNamespace<Called<ReplicatorRpc>>
  BUCKET: DurableObjectNamespace<Called<BucketRpc>>
  RELAY: DurableObjectNamespace<Called<RelayRpc>>
  /** Absent in scripts that were put together without the class: they have one tenant. */
  DIRECTORY?: DurableObjectNamespace<Called<DirectoryRpc>>
  /** Absent, as the Directory: then nobody counts who is connected. */
  CENSUS?: DurableObjectNamespace
}
