import type { Bucket } from './bucket/bucket.ts'
import type { Relay } from './relay/relay.ts'
import type { Replicator } from './replicator/replicator.ts'
import type { SettingBindings } from './setting-bindings.ts'

/** Bindings of the one script; wrangler.toml declares them. */
export interface Environment extends SettingBindings {
  /** Of tests alone: see `faults.ts`. */
  FAULTS?: string
  /** Given where the edge runs on a machine of somebody's own: objects have no other place, and operators are whoever has the development secret. */
  LOCAL_EDGE?: string
  /** How often addresses fail, and users open streams and ask for write checkpoints: see `workers/rates.ts`. */
  RATE_FAILURES?: RateLimit
  RATE_STREAMS?: RateLimit
  RATE_WRITES?: RateLimit
  REPLICATOR: DurableObjectNamespace<Replicator>
  BUCKET: DurableObjectNamespace<Bucket>
  RELAY: DurableObjectNamespace<Relay>
}
