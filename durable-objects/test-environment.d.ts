import type { Bucket } from './bucket/bucket.ts'
import type { Directory } from './directory/directory.ts'
import type { Environment } from './environment.ts'
import type { Writer } from './later/later.ts'
import type { Relay } from './relay/relay.ts'
import type { Replicator } from './replicator/replicator.ts'

declare global {
  namespace Cloudflare {
    /** What `env` of `cloudflare:test` holds: the classes themselves, because tests look into their objects. */
    interface Env extends Omit<Environment, 'BUCKET' | 'DIRECTORY' | 'RELAY' | 'REPLICATOR'> {
      BUCKET: DurableObjectNamespace<Bucket>
      DIRECTORY: DurableObjectNamespace<Directory>
      RELAY: DurableObjectNamespace<Relay>
      REPLICATOR: DurableObjectNamespace<Replicator>
      WRITER: DurableObjectNamespace<Writer>
    }
  }
}
