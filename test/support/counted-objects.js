import * as script from './index.js'

// The script with every call of an object counted by the tenant that its name begins with, and with a Directory that
// can be made to hang while the clock goes on. Tests start it as the `front` of an edge.

let calls = new Map()
let release = null
let hanging = null
const now = Date.now
let aheadMs = 0
Date.now = () => now() + aheadMs

/** Called by the platform for what a client does with a socket that it has. */
const OF_SOCKETS = new Set(['webSocketMessage', 'webSocketClose', 'webSocketError'])

/** Storage whose alarms fire by the clock of the script. */
const ahead = (storage) =>
  new Proxy(storage, {
    get(target, key) {
      if (key === 'setAlarm') return (at) => target.setAlarm(Math.max(at - aheadMs, now()))
      if (key === 'getAlarm')
        return async () => {
          const at = await target.getAlarm()
          return at === null ? null : at + aheadMs
        }
      const value = Reflect.get(target, key, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })

function counted(kind, Original) {
  const Counted = class extends Original {
    constructor(ctx, env) {
      Object.defineProperty(ctx, 'storage', { value: ahead(ctx.storage) })
      super(ctx, env)
    }
  }
  for (const name of Object.getOwnPropertyNames(Original.prototype)) {
    const method = Object.getOwnPropertyDescriptor(Original.prototype, name)?.value
    if (name === 'constructor' || typeof method !== 'function' || OF_SOCKETS.has(name)) continue
    Counted.prototype[name] = async function (...args) {
      const [tenant] = (this.ctx.id.name ?? '').split('/')
      const key = `${tenant} ${kind}.${name}`
      calls.set(key, (calls.get(key) ?? 0) + 1)
      if (kind === 'Directory' && hanging !== null) await hanging
      return method.apply(this, args)
    }
  }
  return Counted
}

export const Bucket = counted('Bucket', script.Bucket)
export const Relay = counted('Relay', script.Relay)
export const Replicator = counted('Replicator', script.Replicator)
export const Directory = counted('Directory', script.Directory)
export const { Census, Writer, Metrics } = script

/** What an isolate knows is kept by its namespace of the Directory: with another one it has just begun. */
const fresh = (env) => ({ ...env, DIRECTORY: { getByName: (...of) => env.DIRECTORY.getByName(...of) } })

export default {
  ...script.default,
  async fetch(request, env, context) {
    const url = new URL(request.url)
    if (url.pathname === '/_calls') {
      const answer = Response.json(Object.fromEntries(calls))
      calls = new Map()
      return answer
    }
    if (url.pathname === '/_hang') {
      const on = url.searchParams.get('on') === '1'
      aheadMs = Number(url.searchParams.get('ahead') ?? aheadMs)
      if (on && hanging === null) hanging = new Promise((resolve) => (release = resolve))
      if (!on && hanging !== null) {
        hanging = null
        release()
      }
      return Response.json({})
    }
    if (!url.pathname.startsWith('/fresh/')) return script.default.fetch(request, env, context)
    url.pathname = url.pathname.slice('/fresh'.length)
    return script.default.fetch(new Request(url, request), fresh(env), context)
  },
}
