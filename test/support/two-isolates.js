import * as script from './index.js'

// The script, as two isolates of it would answer: below /old/ one answers whose copy of the Directory is what it read
// first. Which objects they name is recorded. Tests start it as the `front` of an edge.

export const { Replicator, Bucket, Relay, Directory, Census, Writer, Metrics } = script

let named = []

const recorded = (binding, namespace) =>
  new Proxy(namespace, {
    get(target, property) {
      const value = target[property]
      if (typeof value !== 'function') return value
      return (name, ...more) => {
        if (property === 'getByName') named.push(`${binding} ${name}`)
        return value.call(target, name, ...more)
      }
    },
  })

/** A Directory whose first answers are repeated for ever. */
function remembered(namespace) {
  const answers = new Map()
  const asking = (stub) => (method) => async (request) => {
    const key = `${String(method)} ${request.name ?? ''}`
    if (!answers.has(key)) answers.set(key, await stub[method](request))
    return answers.get(key)
  }
  return {
    getByName: (...of) =>
      new Proxy(
        {},
        { get: (_, method) => (method === 'then' ? undefined : asking(namespace.getByName(...of))(method)) },
      ),
  }
}

let isolates = null
function isolatesOf(env) {
  const objects = Object.fromEntries(['REPLICATOR', 'BUCKET', 'RELAY'].map((name) => [name, recorded(name, env[name])]))
  isolates ??= { now: { ...env, ...objects }, old: { ...env, ...objects, DIRECTORY: remembered(env.DIRECTORY) } }
  return isolates
}

export default {
  ...script.default,
  async fetch(request, env, context) {
    const url = new URL(request.url)
    if (url.pathname === '/named') {
      const answer = Response.json(named)
      named = []
      return answer
    }
    const { now, old } = isolatesOf(env)
    if (!url.pathname.startsWith('/old/')) return script.default.fetch(request, now, context)
    url.pathname = url.pathname.slice('/old'.length)
    return script.default.fetch(new Request(url, request), old, context)
  },
}
