import { AbstractRemote } from '@powersync/shared-internals'
import { describe, expect, test } from 'vitest'
import { addresseeOf, pathWithin, type Addresses } from './address.ts'

// The addresses that the SDKs of PowerSync build from an endpoint, at their public sources of November 2026. The code
// of JS itself runs here; of the others it is repeated, because it is a line each.

const PATHS = ['/sync/stream', '/write-checkpoint2.json', '/sync/checkpoint-request']

/** Of `@powersync/common`, which Web, Node, React Native, Capacitor and Tauri have in common: the installed one. */
class Remote extends AbstractRemote {
  readonly asked: string[] = []

  fetch({ resource }: { resource: string }): Promise<Response> {
    this.asked.push(resource)
    return Promise.resolve(Response.json({}))
  }

  stream(path: string): Promise<unknown> {
    return this.fetchStreamRaw({ path, data: {}, abortSignal: new AbortController().signal } as never)
  }

  override loadWebSocketSupport(): Promise<never> {
    return Promise.reject(new Error('no socket is opened'))
  }
}

async function ofJs(endpoint: string, path: string): Promise<string> {
  const connector = {
    fetchCredentials: () => Promise.resolve({ endpoint, token: 'token' }),
    uploadData: () => Promise.resolve(),
  }
  const remote = new Remote(connector, console as never)
  if (path === '/sync/stream') expect(await remote.stream(path)).toBeDefined()
  else await remote.fetchAndDecodeJson({ path })
  return remote.asked[0] ?? ''
}

const SDKS: Record<string, (endpoint: string, path: string) => string | Promise<string>> = {
  JS: ofJs,
  /** `powersync_core`, `PowerSyncCredentials.endpointUri`: `Uri.parse(endpoint).resolve('sync/stream')`. */
  Dart: (endpoint, path) => new URL(path.slice(1), endpoint).href,
  /** `com.powersync`, `PowerSyncCredentials.endpointUri`: `"$endpoint/$path"`. Swift of before 2026 has that code. */
  Kotlin: (endpoint, path) => `${endpoint}/${path.slice(1)}`,
  /** `powersync-swift`, its own client: `URLComponents.path += "/sync/stream"`. */
  Swift: (endpoint, path) => {
    const url = new URL(endpoint)
    // Foundation leaves the path empty where a browser has a slash.
    const own = /^[a-z]+:\/\/[^/]+$/.test(endpoint) ? '' : url.pathname
    return `${url.origin}${own}${path}`
  },
  /** `PowerSync.Common`, `Remote.BuildRequest`: `credentials.Endpoint + path`. */
  '.NET': (endpoint, path) => endpoint + path,
}

const acme = { name: 'acme', version: 1, state: 'active', hosts: ['sync.acme.example'] }
const root = { name: 'default', version: 1, state: 'active', hosts: [] }
const ADDRESSES: Addresses = {
  byName: new Map([acme, root].map((each) => [each.name, each])),
  byHost: new Map([['sync.acme.example', 'acme']]),
  hosts: ['sync.example'],
  wildcard: 'tenants.example',
  root: 'default',
}
const ENDPOINTS: [endpoint: string, tenant: string][] = [
  ['https://sync.example/t/acme', 'acme'],
  ['https://sync.acme.example', 'acme'],
  ['https://acme.tenants.example', 'acme'],
  ['https://sync.example', 'default'],
]

describe.each(Object.entries(SDKS))('%s', (sdk, build) => {
  describe.each(ENDPOINTS)('with the endpoint %s', (endpoint, name) => {
    test.each(PATHS)('%s', async (path) => {
      const url = new URL(await build(endpoint, path))
      // The one that resolves loses the name, and is told why.
      if (sdk === 'Dart' && endpoint.includes('/t/')) return expect(addresseeOf(url, ADDRESSES)).toBe('endpoint')
      expect([addresseeOf(url, ADDRESSES), pathWithin(url.pathname)]).toEqual([{ name }, path])
    })

    test.each(PATHS)('%s, of an endpoint that ends in a slash', async (path) => {
      if (sdk === 'JS') return expect(build(`${endpoint}/`, path)).rejects.toThrow(/trailing forward slash/i)
      const url = new URL(await build(`${endpoint}/`, path))
      expect([addresseeOf(url, ADDRESSES), pathWithin(url.pathname)]).toEqual([{ name }, path])
    })
  })
})

test.each(['//admin/tenants', '//status', '//t/acme/sync/stream', '//evil.example/sync/streams'])(
  'only what an SDK builds is read without its first slashes: %s is a path of its own',
  (path) => expect(pathWithin(path)).toBe(path),
)
