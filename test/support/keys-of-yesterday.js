import * as script from './index.js'

// The script during a gradual deploy: objects keep the bindings with which they were constructed, while Workers and the
// Directory have newer ones. Tests start it as the `front` of an edge, and set `TENANT_KEYS` of each side.

const keys = { workers: null, objects: null }
const bound = (env, side) => (keys[side] === null ? env : { ...env, TENANT_KEYS: keys[side] })

const constructed = (Base, side) =>
  class extends Base {
    constructor(ctx, env) {
      super(ctx, bound(env, side))
    }
    async endNow() {
      this.ctx.abort('the test ends it')
    }
  }

export class Replicator extends constructed(script.Replicator, 'objects') {}
export class Bucket extends constructed(script.Bucket, 'objects') {}
export class Relay extends constructed(script.Relay, 'objects') {}
export class Directory extends constructed(script.Directory, 'workers') {}
export { Census, Metrics, Writer } from './index.js'

export default {
  ...script.default,
  async fetch(request, env, context) {
    if (new URL(request.url).pathname !== '/keys') return script.default.fetch(request, bound(env, 'workers'), context)
    const { workers, objects, end = [] } = await request.json()
    Object.assign(keys, { workers, objects })
    for (const [binding, name] of end) {
      await env[binding]
        .getByName(name)
        .endNow()
        .catch(() => {})
    }
    return Response.json({})
  },
}
