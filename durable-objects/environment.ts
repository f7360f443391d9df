import type { Bucket } from './bucket/object.ts'
import type { Relay } from './relay/object.ts'
import type { Replicator } from './replicator/object.ts'

/** Bindings of the one script; wrangler.toml declares them. Settings are validated by `tenantSettings`. */
export interface Environment {
  REPLICATOR: DurableObjectNamespace<Replicator>
  BUCKET: DurableObjectNamespace<Bucket>
  RELAY: DurableObjectNamespace<Relay>
  DATABASE_URL?: string
  /** base64url, HS256. */
  JWT_SECRET?: string
  /** One audience, or several separated by commas. */
  JWT_AUDIENCE?: string
  /** YAML; absent = the text bundled with the script. */
  SYNC_CONFIG?: string
  /** Publication and slot; both default to `rockpool`. A publication given here is not created. */
  PUBLICATION?: string
  SLOT?: string
  /** Seconds between looks at the catalog while somebody is connected, default 3. */
  CATALOG_WATCH_SECONDS?: string | number
  /** Budget of one stream: calls and messages, bytes of lines. */
  STREAM_MAX_CALLS?: string
  STREAM_MAX_BYTES?: string
}
