import type { BucketRpc } from '../protocol/messages/bucket.ts'
import type { RelayRpc } from '../protocol/messages/relay.ts'
import type { ReplicatorRpc } from '../protocol/messages/replicator.ts'
import type { TenantBindings } from '../tenants/of-environment.ts'

/** An object as its callers know it. Its class would bring all its code along, to whatever knows of the bindings. */
type Called<Calls> = Calls & Rpc.DurableObjectBranded

/** Bindings of the one script; wrangler.toml declares them. */
export interface Environment extends TenantBindings {
  /** Of tests alone: see `fault-points.ts`. */
  FAULTS?: string
  /** Given where the edge runs on a machine of somebody's own: objects have no other place, and operators are whoever has the development secret. */
  LOCAL_EDGE?: string
  /** How often addresses fail, and users open streams and ask for write checkpoints: see `workers/rates.ts`. */
  RATE_FAILURES?: RateLimit
  RATE_STREAMS?: RateLimit
  RATE_WRITES?: RateLimit
  REPLICATOR: DurableObjectNamespace<Called<ReplicatorRpc>>
  BUCKET: DurableObjectNamespace<Called<BucketRpc>>
  RELAY: DurableObjectNamespace<Called<RelayRpc>>
}
