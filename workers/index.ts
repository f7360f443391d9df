import type { Environment } from '../durable-objects/environment.ts'
import { app } from './app.ts'
import { scheduled } from './replication.ts'

export { Bucket } from '../durable-objects/bucket/object.ts'
export { Relay } from '../durable-objects/relay/object.ts'
export { Replicator } from '../durable-objects/replicator/object.ts'

export default {
  fetch: app.fetch,
  scheduled: (_controller, env) => scheduled(env),
} satisfies ExportedHandler<Environment>
