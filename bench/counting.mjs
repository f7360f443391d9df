/* global Response */
// Stands in front of the script and counts what the platform bills, over all objects: `/_counts` answers the totals.
// Only benchmarks use it; the script behind it is the deployed one, unchanged.
import script, * as classes from './index.js'

const totals = new Map()
const add = (name, n = 1) => void totals.set(name, (totals.get(name) ?? 0) + n)

/** The storage of an object with its rows and alarms counted. */
function counted(storage, kind) {
  const { sql } = storage
  const exec = (query, ...params) => {
    const cursor = sql.exec(query, ...params)
    let [written, read] = [0, 0]
    const count = () => {
      add(`${kind} rows written`, cursor.rowsWritten - written)
      add(`${kind} rows read`, cursor.rowsRead - read)
      written = cursor.rowsWritten
      read = cursor.rowsRead
    }
    count()
    return new Proxy(cursor, {
      get(target, key) {
        const value = Reflect.get(target, key, target)
        if (typeof value !== 'function') return value
        return (...args) => {
          const result = value.apply(target, args)
          count()
          return result
        }
      },
    })
  }
  const proxied = forward(sql, { exec })
  return forward(storage, {
    sql: proxied,
    put: (...args) => {
      add(`${kind} rows written`)
      return storage.put(...args)
    },
    setAlarm: (...args) => {
      add(`${kind} rows written by alarms`)
      return storage.setAlarm(...args)
    },
  })
}

/** Everything of `target`, but for what is given. Native methods want to be called on what they belong to. */
function forward(target, own) {
  return new Proxy(target, {
    get(_, key) {
      if (key in own) return own[key]
      const value = Reflect.get(target, key, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

const EVENTS = new Map([
  ['fetch', 'requests'],
  ['alarm', 'alarms'],
  ['webSocketMessage', 'socket messages'],
])
/** Called by the platform, and not billed as a request. */
const FREE = new Set(['webSocketClose', 'webSocketError'])

/** `only`: the methods that are called from outside, when others are not. */
function counting(kind, Original, only = Object.getOwnPropertyNames(Original.prototype)) {
  const Counting = class extends Original {
    constructor(ctx, env) {
      Object.defineProperty(ctx, 'storage', { value: counted(ctx.storage, kind) })
      super(ctx, env)
    }
  }
  for (const name of only) {
    const method = Object.getOwnPropertyDescriptor(Original.prototype, name)?.value
    // The harness itself asks for `/status`.
    if (name === 'constructor' || name === 'status' || typeof method !== 'function' || FREE.has(name)) continue
    Counting.prototype[name] = function (...args) {
      add(`${kind} ${EVENTS.get(name) ?? 'calls'}`)
      return method.apply(this, args)
    }
  }
  return Counting
}

export const Bucket = counting('bucket', classes.Bucket)
export const Relay = counting('relay', classes.Relay)
export const Replicator = counting('replicator', classes.Replicator)
export const Directory = counting('directory', classes.Directory)
export const Census = counting('census', classes.Census, ['fetch'])
/** What nobody calls. */
export const { Writer, Metrics } = classes

export default {
  ...script,
  fetch(request, env, ctx) {
    const { pathname } = new URL(request.url)
    if (pathname === '/_counts') return Response.json(Object.fromEntries(totals))
    if (pathname !== '/status') add('worker requests')
    return script.fetch(request, env, ctx)
  },
}
