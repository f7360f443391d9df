import { Bucket as OneBucket } from '../../../durable-objects/bucket/bucket.ts'
import type { Environment } from '../../../durable-objects/environment.ts'
import { Relay as OneRelay } from '../../../durable-objects/relay/relay.ts'
import { Replicator as OneReplicator } from '../../../durable-objects/replicator/replicator.ts'
import { DIRECTORY } from '../../../tenants/of-environment.ts'
import { tenantOfRequest } from '../../../tenants/of-request.ts'
import { app } from '../../../workers/app.ts'
import { rulesOf } from '../../../workers/auth/tenant-rules.ts'
import { tokenOfHeader, verifyToken } from '../../../workers/auth/token.ts'
import { scheduled } from '../../../workers/routes/replication.ts'
import { TestDirectory } from './directory.ts'
import { eventStream } from './sse.ts'

export { Directory } from '../../../durable-objects/directory/directory.ts'
export { Census } from '../../../durable-objects/census/census.ts'
export { Metrics, Writer } from '../../../durable-objects/later/later.ts'

// The script with a directory of several tenants, and a fourth transport. A request to `/t/NAME/…` is one to `/…` of
// the host `NAME.example`.

const withDirectory = (env: Environment): Environment => ({ ...env, [DIRECTORY]: new TestDirectory({ ...env }) })

export class Bucket extends OneBucket {
  constructor(ctx: DurableObjectState, env: Environment) {
    super(ctx, withDirectory(env))
  }
}

export class Relay extends OneRelay {
  constructor(ctx: DurableObjectState, env: Environment) {
    super(ctx, withDirectory(env))
  }
}

export class Replicator extends OneReplicator {
  constructor(ctx: DurableObjectState, env: Environment) {
    super(ctx, withDirectory(env))
  }
}

export default {
  async fetch(given, env, context) {
    const [, name, path] = /\/t\/([a-z]+)(\/.*)$/.exec(given.url) ?? []
    const request = new Request(name === undefined ? given.url : `https://${name}.example${path}`, given)
    const bindings = withDirectory(env)
    if (path !== '/events') return app.fetch(request, bindings, context)
    const tenant = await tenantOfRequest(bindings, request)
    const token = tokenOfHeader(request.headers.get('authorization') ?? undefined)
    return eventStream(bindings, tenant, await verifyToken(token, await rulesOf(bindings, tenant)))
  },
  scheduled: (_controller, env) => scheduled(withDirectory(env)),
} satisfies ExportedHandler<Environment>
