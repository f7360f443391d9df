import { randomUUID } from 'node:crypto'
import { SignJWT } from 'jose'
import postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { statusOf } from '../support/status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, until, within } from '../support/support.ts'
import { TenantEdge } from '../support/tenant-edge.ts'
import { native, ndjson, rsocket } from '../wire/transports.ts'

// Every endpoint and socket with every token that must not get in: refused where it must be, in an isolate that knows
// everything and in one whose copy of the Directory is from before, and no object of another tenant is named.

const SYNC_CONFIG = 'bucket_definitions:\n  all:\n    data:\n      - SELECT id, title FROM items\n'
const NAMES = ['acme', 'other', 'paused', 'gone'] as const
type Name = (typeof NAMES)[number]
const USER = 'ann'
const CLIENT = 'phone'

const secrets = Object.fromEntries(NAMES.map((name) => [name, newSecret()])) as Record<Name, string>
const directory = await temporaryDirectory()
let source: TestPostgres
let edge: TenantEdge
const bucketOf = new Map<Name, string>()

interface Signed {
  signedFor?: Name
  sub?: string
  jti?: string
  /** Seconds since it was issued, and until it expires. */
  age?: number
  life?: number
}

const signed = ({ signedFor = 'acme', sub = USER, jti = randomUUID(), age = 0, life = 600 }: Signed) => {
  const now = Math.floor(Date.now() / 1_000)
  return new SignJWT({ jti })
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(sub)
    .setAudience(AUDIENCE)
    .setIssuedAt(now - age)
    .setExpirationTime(now - age + life)
    .sign(Buffer.from(secrets[signedFor], 'base64url'))
}

/** How a request ended: `in` when anything was given, else the code of the refusal, or the status. */
type Ended = string
type Endpoint = (url: string, jwt: string, bucket: string) => Promise<Ended>

async function answered(url: string, jwt: string, init: RequestInit = {}): Promise<Ended> {
  const headers = { 'content-type': 'application/json', ...(jwt !== '' && { authorization: `Token ${jwt}` }) }
  const response = await fetch(url, { ...init, headers })
  const { error } = (await response.json()) as { error?: { code: string } }
  return error?.code ?? 'in'
}

/** `client` is what the stream says that it is. */
const streamed =
  (transport: typeof ndjson): Endpoint =>
  async (url, token) => {
    const stop = new AbortController()
    try {
      const request = { raw_data: true, client_id: CLIENT }
      for await (const line of transport({ url, token, request, signal: stop.signal }))
        if ('checkpoint' in line || 'data' in line) return 'in'
      return 'ended'
    } catch (error) {
      return codeIn(error)
    } finally {
      stop.abort()
    }
  }

const codeIn = (error: unknown): Ended =>
  /PSYNC_S\d{4}|ROCKPOOL_[A-Z_]+/.exec(String(error))?.[0] ?? /\b[45]\d\d\b/.exec(String(error))?.[0] ?? String(error)

const ENDPOINTS: Record<string, Endpoint> = {
  '/write-checkpoint2.json': (url, jwt) => answered(`${url}/write-checkpoint2.json?client_id=${CLIENT}`, jwt),
  '/sync/checkpoint-request': (url, jwt) =>
    answered(`${url}/sync/checkpoint-request`, jwt, {
      method: 'POST',
      body: JSON.stringify({ client_id: CLIENT, checkpoint_request_id: 1 }),
    }),
  '/buckets': (url, jwt) => answered(`${url}/buckets`, jwt),
  '/status': (url, jwt) => answered(`${url}/status`, jwt),
  'HTTP stream': streamed(ndjson),
  'native socket': streamed(native),
  RSocket: streamed(rsocket('application/json')),
  'direct socket': (url, jwt, bucket) =>
    new Promise((resolve) => {
      const address = `${url.replace('http', 'ws')}/buckets/${encodeURIComponent(bucket)}/stream`
      const socket = new WebSocket(address, ['rockpool.direct', ...(jwt === '' ? [] : [jwt])])
      const end = (how: Ended) => {
        socket.close()
        resolve(how)
      }
      socket.onmessage = ({ data }) => {
        const { error } = JSON.parse(String(data)) as { error?: { code: string } }
        end(error?.code ?? 'in')
      }
      socket.onerror = () => end('not opened')
      socket.onclose = ({ code }) => end(`closed ${code}`)
    }),
  // What is for operators, with a token of a user.
  '/admin/status': (url, jwt) => answered(`${url}/admin/status`, jwt),
  '/admin/revocations': (url, jwt) => answered(`${url}/admin/revocations`, jwt),
}
const OF_USERS = Object.keys(ENDPOINTS).filter((name) => !name.startsWith('/admin'))
/** What says no client id: revoking one does not concern it. */
const WITHOUT_CLIENT = ['/buckets', '/status', 'direct socket']

const named = async (): Promise<string[]> => (await (await fetch(`${edge.edge.url}/named`)).json()) as string[]

/** Asks an endpoint of a tenant in an isolate. Returns how it ended and which objects were named for it. */
async function ask(endpoint: string, name: Name, jwt: string, isolate: 'now' | 'old') {
  await named()
  const url = `${edge.edge.url}${isolate === 'old' ? '/old' : ''}/t/${name}`
  const asked = ENDPOINTS[endpoint]?.(url, jwt, bucketOf.get(name) ?? '')
  const ended = await within(`${endpoint} of ${name}`, asked ?? Promise.resolve('there is none'), 60)
  return { ended, objects: await named() }
}

beforeAll(async () => {
  source = await startPostgres()
  const sql = source.sql()
  edge = await TenantEdge.start({
    directory: `${directory.path}/edge`,
    front: new URL('../support/two-isolates.js', import.meta.url).pathname,
  })
  for (const name of NAMES) {
    await sql.unsafe(`CREATE DATABASE ${name}`)
    const own = postgres(source.urlOf({ database: name }), { max: 1, onnotice: () => {} })
    await own.unsafe(`CREATE TABLE items (id int PRIMARY KEY, title text); INSERT INTO items VALUES (1, 'of ${name}')`)
    await own.end({ timeout: 1 })
    await edge.create(name, {
      secrets: { DATABASE_URL: source.urlOf({ database: name }), JWT_SECRET: secrets[name] },
      settings: { SYNC_CONFIG, JWT_AUDIENCE: AUDIENCE },
    })
  }
  for (const name of NAMES) {
    await until(`${name} to be live`, async () => (await statusOf(edge.urlOf(name), secrets[name])).plan !== null, 120)
    // Both isolates read the Directory, and all objects exist.
    const headers = { authorization: `Token ${await signed({ signedFor: name })}` }
    for (const isolate of ['', '/old']) {
      const answer = await fetch(`${edge.edge.url}${isolate}/t/${name}/buckets`, { headers })
      const { data } = (await answer.json()) as { data: { buckets: { bucket: string }[] } }
      bucketOf.set(name, data.buckets[0]?.bucket ?? '')
    }
  }
  await edge.admin('POST', 'tenants/paused/suspend', {})
  const { version } = (await edge.admin('GET', 'tenants/gone')).data as { version: number }
  await edge.admin('DELETE', 'tenants/gone', {}, { 'if-match': `"${version}"` })
  await edge.admin('POST', 'tenants/acme/revoke', { user: 'revoked' })
  await edge.admin('POST', 'tenants/acme/revoke', { user: 'banned', forever: true })
  await edge.admin('POST', 'tenants/acme/revoke', { jti: 'lost' })
  await new Promise((resolve) => setTimeout(resolve, 1_100))
})
afterAll(async () => {
  await edge?.edge.dispose()
  await source?.stop()
  await directory.remove()
})

const ISOLATES = ['now', 'old'] as const
const NONE: readonly string[] = []
const isOf = (name: Name) => (object: string) => new RegExp(`^\\w+ ${name}(/|$)`).test(object)

describe.each(ISOLATES)('in an isolate that knows the Directory of %s', (isolate) => {
  test('a good token gets in everywhere, and names objects of its tenant alone', async () => {
    for (const endpoint of OF_USERS) {
      const { ended, objects } = await ask(endpoint, 'acme', await signed({}), isolate)
      expect([endpoint, ended]).toEqual([endpoint, 'in'])
      expect([endpoint, objects.length > 0 || endpoint === '/status']).toEqual([endpoint, true])
      expect(objects.filter((object) => !isOf('acme')(object))).toEqual(NONE)
    }
  })

  test.each([
    ['none', async () => '', /PSYNC_S2106|PSYNC_S2101|not opened|ROCKPOOL_CLIENT_FRAME/],
    ['one of another tenant', () => signed({ signedFor: 'other' }), /PSYNC_S210[12]|not opened/],
    ['an expired one', () => signed({ age: 3_600, life: 600 }), /PSYNC_S2103|not opened/],
    [
      'an unsigned one',
      async () => `${(await signed({})).split('.').slice(0, 2).join('.')}.`,
      /PSYNC_S210[12]|not opened/,
    ],
  ])('a token, %s: the Worker refuses it, and names no object', async (_, jwt, refused) => {
    for (const endpoint of Object.keys(ENDPOINTS)) {
      const { ended, objects } = await ask(endpoint, 'acme', await jwt(), isolate)
      expect([endpoint, ended]).toEqual([endpoint, expect.stringMatching(refused)])
      expect([endpoint, objects]).toEqual([endpoint, NONE])
    }
  })

  test.each<[string, Signed]>([
    ['of a user whose tokens were revoked', { sub: 'revoked' }],
    ['of a user who is refused for ever', { sub: 'banned' }],
    ['that was revoked by its jti', { jti: 'lost' }],
  ])('a token %s: an object of its tenant refuses it', async (_, claims) => {
    for (const endpoint of OF_USERS) {
      const { ended, objects } = await ask(endpoint, 'acme', await signed(claims), isolate)
      expect([endpoint, ended]).toEqual([endpoint, 'PSYNC_S2107'])
      const refusing = { 'direct socket': 'BUCKET', RSocket: 'RELAY', 'native socket': 'RELAY', 'HTTP stream': 'RELAY' }
      const binding = refusing[endpoint as keyof typeof refusing] ?? 'REPLICATOR'
      expect([endpoint, objects.some((object) => object.startsWith(binding))]).toEqual([endpoint, true])
      expect(objects.filter((object) => !isOf('acme')(object))).toEqual(NONE)
    }
  })

  test('a client id that was revoked is refused wherever it is said', async () => {
    await edge.admin('POST', 'tenants/acme/revoke', { client: CLIENT, forever: true })
    try {
      for (const endpoint of OF_USERS) {
        const { ended } = await ask(endpoint, 'acme', await signed({}), isolate)
        expect([endpoint, ended]).toEqual([endpoint, WITHOUT_CLIENT.includes(endpoint) ? 'in' : 'PSYNC_S2107'])
      }
    } finally {
      await edge.admin('POST', 'tenants/acme/unrevoke', { client: CLIENT })
    }
  })

  test.each(['paused', 'gone'] as const)(
    'a good token of a tenant that is not served (%s) finds nothing',
    async (name) => {
      for (const endpoint of OF_USERS) {
        const { ended, objects } = await ask(endpoint, name, await signed({ signedFor: name }), isolate)
        const closed = endpoint === 'direct socket' ? /PSYNC_S2002|not opened/ : /PSYNC_S2002|404/
        expect([endpoint, ended]).toEqual([endpoint, expect.stringMatching(closed)])
        // Where it is known that the tenant is not served, no object is named.
        if (isolate === 'now') expect([endpoint, objects]).toEqual([endpoint, NONE])
        expect(objects.filter((object) => !isOf(name)(object))).toEqual(NONE)
      }
    },
  )

  test('a token of a user opens nothing that is for operators', async () => {
    for (const endpoint of Object.keys(ENDPOINTS).filter((each) => !OF_USERS.includes(each))) {
      const { ended, objects } = await ask(endpoint, 'acme', await signed({}), isolate)
      expect([endpoint, ended, objects]).toEqual([endpoint, 'ROCKPOOL_OPERATOR', NONE])
    }
  })
})
