import * as script from './index.js'

// The script, and beside it a way to call any method of any object by its name, and to look at what an object stores.
// Tests start it as the `front` of an edge.

const looking = (Base) =>
  class extends Base {
    async lookInside() {
      const tables = this.ctx.storage.sql.exec(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_cf\\_%' ESCAPE '\\'",
      )
      return { alarm: await this.ctx.storage.getAlarm(), tables: [...tables].map(({ name }) => name) }
    }
  }

export class Replicator extends looking(script.Replicator) {}
export class Bucket extends looking(script.Bucket) {}
export class Relay extends looking(script.Relay) {}
export class Directory extends looking(script.Directory) {}
export class Census extends script.Census {}
export class Writer extends script.Writer {}
export class Metrics extends script.Metrics {}

const CLASSES = { REPLICATOR: script.Replicator, BUCKET: script.Bucket, RELAY: script.Relay }

async function called(env, { binding, name, method, request, path }) {
  const stub = env[binding].getByName(name)
  try {
    if (binding === 'CENSUS') {
      const init = { method: 'POST', body: JSON.stringify(request) }
      return { value: (await (await stub.fetch(`https://census/${method}`, init)).json()).data }
    }
    if (path !== undefined) {
      const response = await stub.fetch(`https://object${path}`, { headers: { upgrade: 'websocket' } })
      response.webSocket?.accept()
      return { value: response.status }
    }
    return { value: (await stub[method](request)) ?? null }
  } catch (error) {
    return { error: String(error.code ?? error) }
  }
}

export default {
  ...script.default,
  async fetch(request, env, context) {
    const { pathname } = new URL(request.url)
    if (pathname === '/methods') {
      const methods = Object.entries(CLASSES).map(([binding, { prototype }]) => [
        binding,
        Object.getOwnPropertyNames(prototype),
      ])
      return Response.json(Object.fromEntries(methods))
    }
    if (pathname === '/call') return Response.json(await called(env, await request.json()))
    return script.default.fetch(request, env, context)
  },
}
