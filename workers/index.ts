import type { Environment } from '../durable-objects/environment.ts'
import { app } from './app.ts'
import { scheduled } from './routes/replication.ts'

export { Bucket } from '../durable-objects/bucket/bucket.ts'
export { Census } from '../durable-objects/census/census.ts'
export { Directory } from '../durable-objects/directory/directory.ts'
export { Metrics, Writer } from '../durable-objects/later/later.ts'
export { Relay } from '../durable-objects/relay/relay.ts'
export { Replicator } from '../durable-objects/replicator/replicator.ts'

export default {
  fetch: app.fetch,
  scheduled: (_controller, env) => scheduled(env),
} satisfies ExportedHandler<Environment>
