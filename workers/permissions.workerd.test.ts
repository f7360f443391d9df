import { createExecutionContext, env, runInDurableObject, waitOnExecutionContext } from 'cloudflare:test'
import { SignJWT } from 'jose'
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Environment } from '../durable-objects/environment.ts'
import { MESSAGE_VERSION } from '../protocol/versions.ts'
import { app } from './app.ts'
import { PERMISSIONS, type Permission } from './auth/permissions.ts'
import { NEEDS, routeName } from './routes/needs.ts'
import { openApi } from './routes/openapi/document.ts'
import { OPERATIONS } from './routes/openapi/operations.ts'

// Who may do what below /admin: each route with each permission, and ways around that. The Directory is the real one,
// with the tenants acme and other; what objects of tenants answer is made up, and which are asked is noted.
// The file is long because all of it is about one table.

const TENANT_KEYS = `one:${Buffer.alloc(32, 1).toString('base64url')}`
const NAMES = ['acme', 'other'] as const
const secretOf = (kid: string) => Buffer.from(kid.padEnd(32, '.'))
/** One key for each permission, for all tenants and for one; the key `all` permits everything. */
const LISTED = PERMISSIONS.flatMap((each) => [each, ...NAMES.map((name) => `${each}:${name}`)])
const jwk = (kid: string, permissions?: string[]) => ({
  kty: 'oct',
  kid,
  k: secretOf(kid).toString('base64url'),
  ...(permissions && { permissions }),
})
const OPERATOR_KEYS = JSON.stringify({ keys: [jwk('all'), ...LISTED.map((each) => jwk(each, [each]))] })

let touched: string[] = []
const config = { number: 2 }
const difference = { plan: 'p' }
const status = {
  state: 'live',
  failingBuckets: [{ bucket: '1#secret-user', attempts: 2, error: 'about secret-user' }],
  fencedBuckets: [{ bucket: '1#secret-user', since: 'x', state: 'silent' }],
  skippedRows: { count: 1, recent: [{ table: 'public.t', key: '{"id":"secret-row"}', reason: 'secret-row' }] },
  diagnostics: { counts: {}, recent: [{ code: 'ROCKPOOL_RESYNC', table: null, key: null, reason: 'a new slot' }] },
}
const differences = [{ code: 'row-stale', table: 't', key: 'secret-row', bucket: 'secret-user', reason: 'secret-row' }]
const ANSWERS = {
  wake: {},
  status,
  verification: { verify: null, differences },
  verify: { verify: { number: 1 } },
  cancelVerify: { verify: null, differences: [] },
  configs: { history: [] },
  deploy: { config, difference },
  rollback: { config, cancelled: null, difference },
  withdraw: config,
  revoke: { streams: 0 },
  revocations: [],
  committed: {},
}
const answering = (binding: string) => ({
  getByName: (name: string) =>
    Object.fromEntries(
      Object.entries(ANSWERS).map(([call, answer]) => [
        call,
        async () => {
          touched.push(`${binding} ${name} ${call}`)
          return answer
        },
      ]),
    ),
})
const environment = (settings: Partial<Environment> = {}): Environment => ({
  REPLICATOR: answering('REPLICATOR') as never,
  BUCKET: answering('BUCKET') as never,
  RELAY: { getByName: (name: string) => ({ clients: async () => (touched.push(`RELAY ${name}`), null) }) } as never,
  DIRECTORY: env.DIRECTORY,
  TENANT_KEYS,
  OPERATOR_KEYS,
  OPERATOR_AUDIENCE: 'operators',
  LOCATION: 'weur',
  ...settings,
})

interface Signed {
  kid?: string
  secret?: Uint8Array
  typ?: string
  audience?: string
  claims?: Record<string, unknown>
  expires?: string
}
const signed = (by: string, { kid = by, secret = secretOf(by), typ, audience, claims, expires }: Signed = {}) =>
  new SignJWT({ sub: 'ann', ...claims })
    .setProtectedHeader({ alg: 'HS256', kid, typ: typ ?? 'rockpool-operator+jwt' })
    .setAudience(audience ?? 'operators')
    .setIssuedAt(expires === undefined ? undefined : new Date('2026-01-01T00:00:00Z'))
    .setExpirationTime(expires === undefined ? '5m' : new Date(expires))
    .sign(secret)

const BODIES: Readonly<Record<string, string>> = {
  'POST /admin/rekey': '{"after":"zzz"}',
  'POST /admin/tenants/{name}/revoke': '{"user":"u1"}',
  'POST /admin/tenants/{name}/unrevoke': '{"user":"u1"}',
  'POST /admin/revoke': '{"user":"u1"}',
  'POST /admin/unrevoke': '{"user":"u1"}',
}

async function send(method: string, path: string, token: string, more: RequestInit & { body?: string } = {}) {
  const headers = {
    authorization: `Token ${token}`,
    'x-rockpool-admin': '1',
    'content-type': 'application/json',
    // No change of a tenant goes through, so all find the same.
    'if-match': '"999"',
    ...(more.headers as Record<string, string> | undefined),
  }
  const body = method === 'GET' || method === 'HEAD' || method === 'OPTIONS' ? {} : { body: more.body ?? '{}' }
  const context = createExecutionContext()
  const request = new Request(new URL(path, 'https://sync.example'), { method, ...body, headers })
  const response = await app.fetch(request, environment(), context)
  const text = await response.text()
  await waitOnExecutionContext(context)
  const parsed = (text === '' ? {} : JSON.parse(text)) as {
    data?: unknown
    error?: { code: string; details?: unknown }
  }
  return { status: response.status, text, code: parsed.error?.code, data: parsed.data, headers: response.headers }
}

/** The address of a route at a tenant. */
const pathOf = (name: string, tenant: string): string => {
  const [, path = ''] = name.split(' ')
  const filled = path.replace('{name}', tenant).replace('{number}', '2')
  return NEEDS[name]?.of === 'addressed' ? `/t/${tenant}${filled}` : filled
}

const routes = app.routes
  .filter(({ path, method }) => path.startsWith('/admin') && method !== 'ALL')
  .map(({ path, method }) => routeName(method, path))
const ROUTES = [...new Set(routes)].sort()

beforeAll(async () => {
  const give = (object: object) => void Object.assign(Reflect.get(object, 'env') as object, { TENANT_KEYS })
  await runInDurableObject(env.DIRECTORY.getByName('directory'), give)
  const token = await signed('all')
  for (const [i, name] of NAMES.entries()) {
    const body = JSON.stringify({
      secrets: {
        DATABASE_URL: `postgres://me:geheim@${name}.example/app`,
        JWT_SECRET: Buffer.alloc(32, 50 + i).toString('base64url'),
      },
    })
    const made = await send('PUT', `/admin/tenants/${name}`, token, { body, headers: { 'if-none-match': '*' } })
    expect(made.status).toBe(201)
  }
})
beforeEach(() => void (touched = []))

/** What each permission is for, once more: whoever changes the table in the code changes this one. */
const EXPECTED: Readonly<Record<Permission, readonly string[]>> = {
  read: [
    'GET /admin/tenants',
    'GET /admin/tenants/{name}',
    'GET /admin/spending',
    'GET /admin/openapi.json',
    'GET /admin/sync-config',
    'GET /admin/status',
    'GET /admin/verify',
  ],
  data: ['GET /admin/tenants/{name}/revocations', 'GET /admin/audit', 'GET /admin/clients', 'GET /admin/revocations'],
  deploy: ['PUT /admin/sync-config', 'POST /admin/sync-config/{number}/withdraw', 'POST /admin/rollback'],
  write: [
    'POST /admin/tenants/{name}/suspend',
    'POST /admin/tenants/{name}/resume',
    'POST /admin/tenants/{name}/revoke',
    'POST /admin/tenants/{name}/unrevoke',
    'POST /admin/verify',
    'DELETE /admin/verify',
    'POST /admin/revoke',
    'POST /admin/unrevoke',
  ],
  tenants: [
    'PUT /admin/tenants/{name}',
    'PATCH /admin/tenants/{name}',
    'DELETE /admin/tenants/{name}',
    'POST /admin/adopt',
    'POST /admin/rekey',
  ],
}
const FOR_ALL = ['GET /admin/spending', 'GET /admin/audit', 'POST /admin/adopt', 'POST /admin/rekey']
const FOR_ANY = ['GET /admin/tenants', 'GET /admin/openapi.json']

describe('permissions', () => {
  test('every route has one, and the OpenAPI document shows it', () => {
    expect(Object.keys(NEEDS).sort()).toEqual(ROUTES)
    expect(Object.values(EXPECTED).flat().sort()).toEqual(ROUTES)
    const document = openApi() as { paths: Record<string, Record<string, Record<string, unknown>>> }
    for (const { method, path } of OPERATIONS) {
      const name = `${method.toUpperCase()} ${path}`
      const shown = document.paths[path]?.[method]?.['x-rockpool-permission']
      expect([name, EXPECTED[shown as Permission]?.includes(name)]).toEqual([name, true])
    }
  })

  test.each(ROUTES)('%s is for those who have it, and 403 for everybody else', async (name) => {
    const [method = ''] = name.split(' ')
    const [permission] = PERMISSIONS.filter((each) => EXPECTED[each].includes(name))
    const may = (listed: string, tenant: string): boolean => {
      const [what, where] = listed.split(':')
      if (listed === 'all') return true
      if (what !== permission) return false
      return where === undefined || FOR_ANY.includes(name) || (!FOR_ALL.includes(name) && where === tenant)
    }
    for (const listed of ['all', ...LISTED]) {
      const token = await signed(listed)
      for (const tenant of FOR_ALL.includes(name) || FOR_ANY.includes(name) ? ['acme'] : NAMES) {
        touched = []
        const body = BODIES[name]
        const answer = await send(method, pathOf(name, tenant), token, body === undefined ? {} : { body })
        const shown = [name, listed, tenant, answer.status, answer.code]
        if (may(listed, tenant)) {
          // 400, 409 and 412: it came to the route, and says what it lacks.
          expect([...shown, [200, 201, 202, 400, 409, 412].includes(answer.status)]).toEqual([...shown, true])
        } else {
          expect([...shown, touched]).toEqual([name, listed, tenant, 403, 'ROCKPOOL_PERMISSION', []])
        }
      }
    }
  })

  test('of a list, an operator of one tenant sees that one', async () => {
    const names = async (kid: string) =>
      ((await send('GET', '/admin/tenants', await signed(kid))).data as { tenants: { name: string }[] }).tenants.map(
        (each) => each.name,
      )
    expect([await names('read'), await names('read:acme'), await names('read:other')]).toEqual([
      ['acme', 'other'],
      ['acme'],
      ['other'],
    ])
  })

  test('`read` shows the state without what rows, buckets and users are called; `data` as well shows it', async () => {
    for (const path of ['status', 'admin/status', 'admin/verify']) {
      const hidden = await send('GET', `/t/acme/${path}`, await signed('read:acme'))
      expect([path, hidden.status, hidden.text.includes('secret')]).toEqual([path, 200, false])
      const narrowed = await signed('all', { claims: { permissions: ['read', 'data:acme'] } })
      expect((await send('GET', `/t/acme/${path}`, narrowed)).text).toContain('secret-user')
      expect((await send('GET', `/t/other/${path}`, narrowed)).text).not.toContain('secret')
    }
    const { data } = await send('GET', '/t/acme/status', await signed('read'))
    expect(data).toMatchObject({
      state: 'live',
      failingBuckets: [{ bucket: 'hidden 1', attempts: 2 }],
      fencedBuckets: [{ bucket: 'hidden 1' }],
      diagnostics: { recent: [{ reason: 'a new slot' }] },
    })
    touched = []
    for (const other of ['data', 'deploy', 'write', 'tenants', 'read:other'])
      expect((await send('GET', '/t/acme/status', await signed(other))).code).toBe('ROCKPOOL_PERMISSION')
    expect(touched).toEqual([])
  })

  test('the audit names the key, and the address', async () => {
    const revoke = { body: '{"user":"u7"}', headers: { 'cf-connecting-ip': '2001:db8::7' } }
    await send('POST', '/admin/tenants/acme/revoke', await signed('write:acme'), revoke)
    await send('POST', '/t/acme/admin/unrevoke', await signed('write'), revoke)
    const { data } = await send('GET', '/admin/audit?limit=2', await signed('data'))
    expect(data).toMatchObject({
      entries: [
        { by: 'ann', key: 'write', from: '2001:db8::7', action: 'unrevoke', tenant: 'acme' },
        { by: 'ann', key: 'write:acme', from: '2001:db8::7', action: 'revoke', tenant: 'acme' },
      ],
    })
  })
})

describe('no way around them:', () => {
  test('the claim of a token takes away, and gives nothing', async () => {
    const clients = async (kid: string, permissions: unknown) =>
      send('GET', '/t/acme/admin/clients', await signed(kid, { claims: { permissions } }))
    expect((await clients('all', ['data'])).status).toBe(200)
    expect((await clients('all', ['data:acme'])).status).toBe(200)
    for (const [kid, permissions] of [
      ['all', ['read']],
      ['all', ['data:other']],
      ['data:other', ['data']],
      ['read', ['data', 'tenants']],
    ] as const)
      expect((await clients(kid, permissions)).code).toBe('ROCKPOOL_PERMISSION')
    for (const unreadable of [[], 'data', ['all'], null, { data: true }])
      expect((await clients('all', unreadable)).code).toBe('PSYNC_S2101')
  })

  test('a key signs for itself alone, and only as an operator', async () => {
    const bad: [string, Signed][] = [
      ['PSYNC_S2102', { kid: 'all' }],
      ['PSYNC_S2102', { kid: 'data:acme', secret: secretOf('all') }],
      ['PSYNC_S2101', { kid: 'ALL', secret: secretOf('all') }],
      ['ROCKPOOL_OPERATOR', { typ: 'JWT' }],
      ['PSYNC_S2105', { audience: 'rockpool:acme' }],
      ['PSYNC_S2103', { expires: '2026-01-01T00:05:00Z' }],
    ]
    for (const [code, how] of bad) {
      const answer = await send('GET', '/t/acme/admin/clients', await signed('data:acme', how))
      expect([how, answer.code]).toEqual([how, code])
    }
    const [, payload = ''] = (await signed('all')).split('.')
    for (const alg of ['none', 'None', 'NONE', '']) {
      const header = { alg, kid: 'all', typ: 'rockpool-operator+jwt' }
      const unsigned = `${Buffer.from(JSON.stringify(header)).toString('base64url')}.${payload}.`
      expect((await send('GET', '/t/acme/admin/clients', unsigned)).code).toBe('PSYNC_S2101')
    }
    expect(touched).toEqual([])
  })

  test('no other spelling of a path, and no other method', async () => {
    const token = await signed('read:acme', { claims: { sub: 'mallory' } })
    const paths = [
      '/admin/tenants/other',
      '/admin/tenants/acme/../other',
      '/admin/tenants/acme/%2e%2e/other',
      '/admin/tenants/acme%2f..%2fother',
      '/admin/tenants/acme%2F',
      '/admin/tenants/%6fther',
      '/admin/tenants/%256fther',
      '/admin/tenants/other/',
      '/admin/tenants/other%00',
      '/admin/tenants/OTHER',
      '//admin/tenants/other',
      '/admin//tenants/other',
      '/admin/tenants//other',
      '/%61dmin/tenants/other',
      '/ADMIN/tenants/other',
      '/admin/tenants/other?name=acme',
      '/admin/tenants/other;acme',
      '/./admin/tenants/other',
      '/t/acme/../../admin/tenants/other',
      '/t/acme/admin/tenants/other',
      '/t/acme/../other/admin/status',
      '/t/acme/%2e%2e/other/admin/status',
      '/t/other//admin/status',
      '/t/other/%61dmin/status',
      '/%74/other/admin/status',
      '/t/%6fther/admin/status',
      '/t//other/admin/status',
      '/admin/status',
      '/t/acme/admin/clients',
      '/t/acme//admin/clients',
      '/t/acme/%61dmin/clients',
      '/t/acme/admin/./clients',
      '/admin/audit',
      '/%61dmin/audit',
      '/admin/audit/',
    ]
    for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND'])
      for (const path of paths) {
        const answer = await send(method, path, token)
        const shown = [method, path, answer.status, answer.text]
        // 204: what a browser asks before a request to the routes of users, whatever their address.
        const isPreflight = method === 'OPTIONS' && answer.status === 204 && !path.startsWith('/admin')
        const isRefused = [401, 403, 404].includes(answer.status) || isPreflight
        expect([...shown, isRefused, touched]).toEqual([...shown, true, []])
      }
    const other = {
      headers: { 'x-http-method-override': 'PATCH', 'x-method-override': 'PATCH' },
      body: '{"_method":"GET"}',
    }
    expect((await send('POST', '/admin/tenants/acme?_method=GET', token, other)).status).toBe(404)
    expect((await send('GET', '/admin/tenants/acme', token, { headers: other.headers })).status).toBe(200)
    // What HEAD is answered is that of GET without its body.
    expect((await send('HEAD', '/admin/tenants/acme', token)).status).toBe(200)
    expect((await send('OPTIONS', '/admin/tenants/acme', token)).headers.get('access-control-allow-origin')).toBeNull()
  })

  test('a user of a tenant is no operator of it, whatever the token says', async () => {
    const user = await signed('all', {
      secret: Buffer.alloc(32, 50),
      kid: '',
      typ: 'JWT',
      audience: 'rockpool:acme',
      claims: { operator: true, permissions: PERMISSIONS },
    })
    for (const name of ROUTES) {
      const [method = ''] = name.split(' ')
      const answer = await send(method, pathOf(name, 'acme'), user)
      expect([name, answer.status, answer.code]).toEqual([name, 403, 'ROCKPOOL_OPERATOR'])
    }
    expect(touched).toEqual([])
  })

  test('nothing has changed', async () => {
    const directory = env.DIRECTORY.getByName('directory')
    const { tenants } = await directory.names({ v: MESSAGE_VERSION })
    expect(tenants).toMatchObject(NAMES.map((name) => ({ name, version: 1, state: 'active', hosts: [] })))
  })
})
