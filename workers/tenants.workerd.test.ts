import { createExecutionContext, env, runInDurableObject, waitOnExecutionContext } from 'cloudflare:test'
import { SignJWT } from 'jose'
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Environment } from '../durable-objects/environment.ts'
import { MESSAGE_VERSION } from '../protocol/versions.ts'
import { app } from './app.ts'
import { scheduled } from './routes/replication.ts'
import { OPERATIONS, type Operation } from './routes/openapi/operations.ts'
import { errorShape } from './routes/tenants/shapes.ts'

// A deployment with several tenants: the Directory is the real one, and no other object is reached.
// The file is long because its tests share one Directory with its tenants.

const bytes = (n: number) => Buffer.alloc(32, n)
const TENANT_KEYS = `one:${bytes(1).toString('base64url')}`
const OPERATORS = bytes(9)
/** Once it was 100,000 (2026-11-30). */
const UNKNOWN_NAMES = 2_000
let touched: string[] = []

const watched = <T extends object>(binding: string, namespace: T): T =>
  new Proxy(namespace, {
    get: () => (name: unknown) => {
      touched.push(`${binding} ${String(name)}`)
      return {
        wake: async () => {},
        committed: async () => ({ checkpoint: 0, plan: null }),
        writeCheckpoint: async () => ({ writeCheckpoint: '7' }),
      }
    },
  })

const environment = (settings: Partial<Environment> = {}): Environment => ({
  REPLICATOR: watched('REPLICATOR', env.REPLICATOR),
  BUCKET: watched('BUCKET', env.BUCKET),
  RELAY: watched('RELAY', env.RELAY),
  DIRECTORY: env.DIRECTORY,
  TENANT_KEYS,
  OPERATOR_KEYS: JSON.stringify({ keys: [{ kty: 'oct', k: OPERATORS.toString('base64url') }] }),
  OPERATOR_AUDIENCE: 'operators',
  LOCATION: 'weur',
  ...settings,
})

async function ask(path: string, init: RequestInit = {}, bindings = environment()) {
  const context = createExecutionContext()
  const response = await app.fetch(new Request(new URL(path, 'https://sync.example'), init), bindings, context)
  const text = await response.text()
  await waitOnExecutionContext(context)
  const body = JSON.parse(text) as { data?: Record<string, unknown>; error?: { code: string; description: string } }
  return { status: response.status, text, headers: response.headers, data: body.data, error: body.error }
}

const signed = (secret: Uint8Array, audience: string, claims: Record<string, unknown> = {}, typ = 'JWT') =>
  new SignJWT({ sub: 'alice', ...claims })
    .setProtectedHeader({ alg: 'HS256', typ })
    .setAudience(audience)
    .setIssuedAt()
    .setExpirationTime('5m')
    .sign(secret)
const tokenAt = async (secret: Uint8Array, audience: string, claims: Record<string, unknown> = {}) => ({
  headers: { authorization: `Token ${await signed(secret, audience, claims)}` },
})

const expiredToken = async (secret: Uint8Array, audience: string) => {
  const past = Math.floor(Date.now() / 1_000) - 3_600
  const token = new SignJWT({ sub: 'alice' }).setProtectedHeader({ alg: 'HS256' }).setAudience(audience)
  return {
    headers: {
      authorization: `Token ${await token
        .setIssuedAt(past - 60)
        .setExpirationTime(past)
        .sign(secret)}`,
    },
  }
}

/** A request of an operator. */
async function admin(
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
  bindings = environment(),
) {
  const token = await signed(OPERATORS, 'operators', { sub: 'ann' }, 'rockpool-operator+jwt')
  const common = {
    authorization: `Token ${token}`,
    'x-rockpool-admin': '1',
    'content-type': 'application/json',
    ...headers,
  }
  const answer = await ask(
    `/admin/${path}`,
    { method, headers: common, ...(body === undefined ? {} : { body: JSON.stringify(body) }) },
    bindings,
  )
  asDescribed(method, path, answer)
  return answer
}

/** Every answer of the deployment is as the OpenAPI document says. */
function asDescribed(
  method: string,
  path: string,
  { status, data, text }: { status: number; data?: unknown; text: string },
): void {
  if (status >= 400) return void errorShape.parse(JSON.parse(text))
  const [asked = ''] = `/admin/${path}`.split('?')
  const isIt = (each: Operation) =>
    each.method === method.toLowerCase() && new RegExp(`^${each.path.replace('{name}', '[a-z0-9-]+')}$`).test(asked)
  const operation = OPERATIONS.find((each) => each.of === 'deployment' && isIt(each))
  if (!operation) throw new Error(`${method} ${asked} is not in the document`)
  expect(operation.statuses).toContain(status)
  operation.answer.parse(data)
}
const NEW = { 'if-none-match': '*' }
const tenant = (
  name: string,
  secret: number,
  more: { settings?: object; hosts?: string[]; tenantClaim?: string } = {},
) => ({
  secrets: {
    DATABASE_URL: `postgres://me:geheim@${name}.example/app`,
    JWT_SECRET: bytes(secret).toString('base64url'),
  },
  ...more,
})

beforeAll(async () => {
  // The keys are a binding of the script, and tests have none of it.
  const give = (object: object) => void Object.assign(Reflect.get(object, 'env') as object, { TENANT_KEYS })
  await runInDurableObject(env.DIRECTORY.getByName('directory'), give)
  for (const [name, secret] of [
    ['acme', 2],
    ['other', 3],
  ] as const) {
    expect((await admin('PUT', `tenants/${name}`, tenant(name, secret), NEW)).status).toBe(201)
  }
})
beforeEach(() => void (touched = []))

describe('a request finds its tenant, before its token is looked at', () => {
  test('by path, with one slash or two, and reaches only the objects of that one', async () => {
    for (const path of ['/t/acme/write-checkpoint2.json', '/t/acme//write-checkpoint2.json']) {
      touched = []
      const answer = await ask(path, await tokenAt(bytes(2), 'rockpool:acme'))
      expect([answer.status, touched]).toEqual([200, ['REPLICATOR acme']])
    }
  })

  const PATHS: [string, RequestInit][] = [
    ['/sync/stream', { method: 'POST', body: '{}' }],
    ['/write-checkpoint2.json', {}],
    ['/sync/checkpoint-request', { method: 'POST', body: '{"client_id":"c","checkpoint_request_id":"1"}' }],
    ['/status', {}],
    ['/buckets', {}],
    ['/buckets/a/stream', {}],
    ['/admin/status', {}],
    ['/admin/sync-config', {}],
  ]
  test.each(PATHS)(
    '%s refuses the token of another tenant, of none, and none, and names no object',
    async (path, init) => {
      const tokens = [
        await tokenAt(bytes(3), 'rockpool:other'),
        await tokenAt(bytes(3), 'rockpool:acme'),
        await tokenAt(bytes(2), 'rockpool:other'),
        await tokenAt(bytes(7), 'rockpool:acme'),
        await expiredToken(bytes(2), 'rockpool:acme'),
        { headers: {} },
      ]
      for (const { headers } of tokens) {
        const { status, error } = await ask(`/t/acme${path}`, {
          ...init,
          headers: { ...headers, 'content-type': 'application/json' },
        })
        // Where operators have keys of their own, a token of a user is the wrong kind of token.
        const isWrongKind = path.startsWith('/admin') && 'authorization' in headers
        expect([status, error?.code.slice(0, 8)]).toEqual(isWrongKind ? [403, 'ROCKPOOL'] : [401, 'PSYNC_S2'])
      }
      expect(touched).toEqual([])
    },
  )

  test('an unknown tenant, one that is nobody’s path and the root without a tenant are the same 404, whatever the token', async () => {
    const headers = (await tokenAt(bytes(2), 'rockpool:acme')).headers
    const paths = [
      '/t/nobody/status',
      '/t/ACME/status',
      '/t//status',
      '/status',
      '/t/nobody/sync/stream',
      '/sync/stream',
    ]
    const answers = await Promise.all(paths.map((path) => ask(path, { headers })))
    expect(new Set(answers.map(({ status, text }) => `${status} ${text}`)).size).toBe(1)
    expect([answers[0]?.status, answers[0]?.error?.code, touched]).toEqual([404, 'PSYNC_S2002', []])
  })

  test('an endpoint without its slash is told to the developer', async () => {
    const { status, error } = await ask('/t/sync/stream', { method: 'POST' })
    expect([status, error?.code]).toEqual([404, 'ROCKPOOL_ENDPOINT'])
  })
})

describe('/admin/tenants', () => {
  test('shows a tenant without its secrets, and the list page by page', async () => {
    const { status, headers, data, text } = await admin('GET', 'tenants/acme')
    expect([status, headers.get('etag'), headers.get('cross-origin-resource-policy')]).toEqual([
      200,
      '"1"',
      'same-origin',
    ])
    expect(data).toMatchObject({ name: 'acme', state: 'active', version: 1, secrets: ['DATABASE_URL', 'JWT_SECRET'] })
    expect(text).not.toContain('geheim')
    expect((await admin('GET', 'tenants?limit=1')).data).toMatchObject({ tenants: [{ name: 'acme' }], next: 'acme' })
    expect((await admin('GET', 'tenants?limit=1&after=acme')).data).toMatchObject({
      tenants: [{ name: 'other' }],
      next: null,
    })
    expect((await admin('GET', 'tenants/nobody')).error?.code).toBe('ROCKPOOL_TENANT')
  })

  test('changes the version that was read, and says who did it', async () => {
    await admin('PUT', 'tenants/changed', tenant('changed', 4), NEW)
    const change = { settings: { JWT_ISSUER: 'me' } }
    expect((await admin('PATCH', 'tenants/changed', change, { 'if-match': '"1"' })).data).toMatchObject({
      version: 2,
      settings: { JWT_ISSUER: 'me' },
    })
    const late = await admin('PATCH', 'tenants/changed', change, { 'if-match': '"1"' })
    expect([late.status, late.error?.code]).toEqual([412, 'ROCKPOOL_TENANT_CONFLICT'])
    expect((await admin('PATCH', 'tenants/changed', change)).status).toBe(400)
    expect((await admin('PUT', 'tenants/changed', tenant('changed', 4))).status).toBe(400)
    expect((await admin('PUT', 'tenants/changed', tenant('changed', 4), NEW)).status).toBe(412)
    const { data } = await admin('GET', 'audit?limit=2')
    expect(data?.entries).toMatchObject([
      { by: 'ann', action: 'change', tenant: 'changed' },
      { by: 'ann', action: 'create', tenant: 'changed' },
    ])
  })

  test('refuses what is wrong, and what another tenant or the operators have; no answer shows a secret', async () => {
    const answers = [
      await admin('PUT', 'tenants/sync', tenant('sync', 5), NEW),
      await admin('PUT', 'tenants/b', { settings: { SLOTS: 'x' } }, NEW),
      await admin('PUT', 'tenants/b', { secrets: { DATABASE_URL: 'geheim' } }, NEW),
      await admin('PUT', 'tenants/b', { secrets: { ...tenant('b', 5).secrets, JWT_SECRET: 'geheim' } }, NEW),
      await admin('PUT', 'tenants/b', tenant('b', 5, { settings: { JWKS_URL: 'https://127.0.0.1/keys' } }), NEW),
      await admin('PUT', 'tenants/b', tenant('b', 5, { settings: { JWT_AUDIENCE: 'operators' } }), NEW),
      await admin('PUT', 'tenants/b', tenant('b', 9), NEW),
      await admin('PUT', 'tenants/b', tenant('b', 2, { settings: { JWT_AUDIENCE: 'rockpool:acme' } }), NEW),
    ]
    expect(answers.map(({ status, error }) => [status, error?.code])).toEqual([
      [422, 'ROCKPOOL_SETTINGS'],
      [400, 'PSYNC_S2001'],
      [422, 'ROCKPOOL_SETTINGS'],
      [422, 'PSYNC_S2201'],
      [422, 'PSYNC_S2203'],
      [409, 'ROCKPOOL_TENANT_CONFLICT'],
      [409, 'ROCKPOOL_TENANT_CONFLICT'],
      [409, 'ROCKPOOL_TENANT_CONFLICT'],
    ])
    expect(answers.map(({ text }) => text).join()).not.toContain('geheim')
    expect(await ask('/admin/tenants/b', { headers: { authorization: 'Token x' } })).toMatchObject({ status: 401 })
  })

  test('is for operators of the deployment, and for no page of another origin', async () => {
    const user = await tokenAt(bytes(2), 'rockpool:acme', { operator: true })
    for (const path of ['tenants', 'tenants/acme', 'audit']) {
      expect((await ask(`/admin/${path}`, user)).status).toBe(403)
      expect((await ask(`/admin/${path}`)).status).toBe(401)
      // Under the address of a tenant there is nothing of the deployment.
      expect((await ask(`/t/acme/admin/${path}`, user)).status).toBe(404)
    }
    const pages: Record<string, string>[] = [
      { origin: 'https://evil.example' },
      { 'sec-fetch-site': 'cross-site' },
      { 'x-rockpool-admin': '' },
    ]
    for (const foreign of pages) {
      expect((await admin('PATCH', 'tenants/acme', { hosts: [] }, { 'if-match': '"1"', ...foreign })).status).toBe(403)
      expect((await admin('POST', 'rekey', {}, foreign)).status).toBe(403)
    }
    expect(
      (await admin('PATCH', 'tenants/acme', { hosts: [] }, { 'if-match': '"1"', 'content-type': 'text/plain' })).status,
    ).toBe(415)
    expect((await admin('GET', 'tenants/acme')).data).toMatchObject({ version: 1 })
    const options = await ask('/admin/tenants', { method: 'OPTIONS', headers: { origin: 'https://evil.example' } })
    expect(options.headers.get('access-control-allow-origin')).toBeNull()
    expect(touched).toEqual([])
  })

  test('is not there without operators, nor in a deployment with one tenant', async () => {
    const { OPERATOR_KEYS: _, ...without } = environment()
    expect((await admin('GET', 'tenants', undefined, {}, without)).status).toBe(404)
    const { TENANT_KEYS: __, ...single } = environment({
      JWT_SECRET: bytes(2).toString('base64url'),
      JWT_AUDIENCE: 'app',
    })
    expect((await admin('GET', 'tenants', undefined, {}, single)).status).toBe(404)
    // There the paths of tenants mean nothing, as before.
    expect((await ask('/t/acme/status', await tokenAt(bytes(2), 'app'), single)).status).toBe(404)
    expect((await ask('/write-checkpoint2.json', await tokenAt(bytes(2), 'app'), single)).status).toBe(200)
    expect(touched).toEqual(['REPLICATOR default'])
  })

  test('suspends and resumes a tenant, and says what is left to do; meanwhile it is the 404 of strangers, token or not', async () => {
    await admin('PUT', 'tenants/paused', tenant('paused', 8), NEW)
    const user = await tokenAt(bytes(8), 'rockpool:paused')
    const stranger = await ask('/t/nobody/status', user)
    expect((await admin('POST', 'tenants/paused/suspend', {}, { 'if-match': '"9"' })).status).toBe(412)
    const suspended = await admin('POST', 'tenants/paused/suspend', {})
    expect([suspended.status, suspended.data]).toMatchObject([200, { state: 'suspended', version: 2, job: null }])
    touched = []
    for (const path of ['status', 'write-checkpoint2.json', 'buckets', 'admin/status']) {
      const { status, text } = await ask(`/t/paused/${path}`, user)
      expect([path, status, text]).toEqual([path, 404, stranger.text])
    }
    expect(touched).toEqual([])
    // Asked again, nothing changes.
    expect((await admin('POST', 'tenants/paused/suspend', {}, { 'if-match': '"2"' })).data).toMatchObject({
      version: 2,
    })
    expect((await admin('POST', 'tenants/paused/resume', {})).data).toMatchObject({
      state: 'active',
      version: 3,
      job: null,
    })
    expect((await ask('/t/paused/write-checkpoint2.json', user)).status).toBe(200)
    expect((await admin('POST', 'tenants/nobody/suspend', {})).error?.code).toBe('ROCKPOOL_TENANT')
    expect((await admin('POST', 'tenants/paused/suspend', { all: true })).status).toBe(400)
  })

  test('deletes the version that was read, in the background, and there is no way back', async () => {
    await admin('PUT', 'tenants/gone', tenant('gone', 10), NEW)
    expect((await admin('DELETE', 'tenants/gone', {})).status).toBe(400)
    expect((await admin('DELETE', 'tenants/gone', {}, { 'if-match': '"7"' })).status).toBe(412)
    const FOREIGN: Record<string, string>[] = [
      { origin: 'https://evil.example' },
      { 'x-rockpool-admin': '' },
      { 'content-type': 'text/plain' },
    ]
    for (const foreign of FOREIGN) {
      expect(
        (await admin('DELETE', 'tenants/gone', {}, { 'if-match': '"1"', ...foreign })).status,
      ).toBeGreaterThanOrEqual(403)
      expect((await admin('POST', 'tenants/gone/suspend', {}, foreign)).status).toBeGreaterThanOrEqual(403)
    }
    const begun = await admin('DELETE', 'tenants/gone', { keepSource: true }, { 'if-match': '"1"' })
    expect([begun.status, begun.data]).toMatchObject([
      202,
      { state: 'deleting', job: { state: 'deleting', phase: 'buckets', error: null } },
    ])
    expect((await ask('/t/gone/status', await tokenAt(bytes(10), 'rockpool:gone'))).status).toBe(404)
    expect((await admin('POST', 'tenants/gone/resume', {})).error?.code).toBe('ROCKPOOL_TENANT_CONFLICT')
    expect((await admin('GET', 'tenants/gone')).data).toMatchObject({ state: 'deleting', job: { removed: 0 } })
  })

  test('of a tenant opens for no claim of its users, also where operators have no keys', async () => {
    const { OPERATOR_KEYS: _, OPERATOR_AUDIENCE: __, ...without } = environment()
    const user = await tokenAt(bytes(2), 'rockpool:acme', { operator: true })
    for (const path of ['sync-config', 'status', 'verify', 'openapi.json']) {
      const { status, error } = await ask(`/t/acme/admin/${path}`, user, without)
      expect([path, status, error?.code]).toEqual([path, 403, 'ROCKPOOL_OPERATOR'])
    }
    expect(touched).toEqual([])
  })

  test('encrypts all secrets again', async () => {
    expect((await admin('POST', 'rekey', {})).data).toEqual({ rekeyed: 0, next: null })
  })
})

describe('the OpenAPI document', () => {
  test('has every route below /admin, and no other', () => {
    const routes = app.routes.filter(({ path, method }) => path.startsWith('/admin') && method !== 'ALL')
    const named = routes.flatMap(({ path, method }) => {
      const [, verbs] = /:verb\{([a-z|]+)\}/.exec(path) ?? []
      const paths = verbs === undefined ? [path] : verbs.split('|').map((verb) => path.replace(/:verb\{[^}]*\}/, verb))
      return paths.map((each) => `${method.toLowerCase()} ${each.replace(/:(\w+)(\{.*?\}\})?(\{[^/]*\})?/g, '{$1}')}`)
    })
    expect([...new Set(named)].sort()).toEqual(OPERATIONS.map(({ method, path }) => `${method} ${path}`).sort())
  })

  test('is there for operators, of the deployment and of a tenant', async () => {
    const token = await signed(OPERATORS, 'operators', { sub: 'ann' }, 'rockpool-operator+jwt')
    const headers = { authorization: `Token ${token}` }
    const {
      DIRECTORY: _,
      TENANT_KEYS: __,
      ...single
    } = environment({ JWT_SECRET: bytes(2).toString('base64url'), JWT_AUDIENCE: 'app' })
    for (const [path, bindings] of [
      ['/admin/openapi.json', environment()],
      ['/t/acme/admin/openapi.json', environment()],
      ['/admin/openapi.json', single],
    ] as const) {
      const { status, text } = await ask(path, { headers }, bindings)
      expect([path, status, JSON.parse(text)]).toMatchObject([
        path,
        200,
        { openapi: '3.1.0', paths: { '/admin/tenants': {} } },
      ])
      expect((await ask(path, {}, bindings)).status).toBe(401)
      expect((await ask(path, await tokenAt(bytes(2), 'rockpool:acme', { operator: true }), bindings)).status).toBe(403)
    }
    expect(touched).toEqual([])
  })
})

test('the cron trigger wakes tenants of whom nothing was heard in time, and no other', async () => {
  const directory = env.DIRECTORY.getByName('directory')
  const v = MESSAGE_VERSION
  const { tenants } = await directory.names({ v })
  const active = (tenants ?? []).filter(({ state }) => state === 'active').map(({ name }) => name)
  for (const name of active) await directory.heard({ v, name, due: Date.now() + 60_000 })
  await scheduled(environment())
  expect(touched).toEqual([])
  await directory.heard({ v, name: 'acme', due: Date.now() - 1 })
  await scheduled(environment())
  expect(touched).toEqual(['REPLICATOR acme'])
  // What has changed is woken as well.
  touched = []
  await directory.heard({ v, name: 'acme', due: Date.now() + 60_000 })
  const { data } = await admin('GET', 'tenants/other')
  await admin(
    'PATCH',
    'tenants/other',
    { settings: { JWT_ISSUER: 'me' } },
    { 'if-match': `"${String(data?.version)}"` },
  )
  await scheduled(environment())
  expect(touched).toEqual(['REPLICATOR other', 'REPLICATOR other'])
})

test('at the spending limit of the account nothing is asked that would be rejected as well, and clients come back later', async () => {
  let asked = 0
  const rejected = () => (
    asked++,
    Promise.reject(new Error("Exceeded the account's spending cap for Durable Objects."))
  )
  const spent = { getByName: () => ({ wake: rejected, writeCheckpoint: rejected, overdue: rejected }) }
  const directory = env.DIRECTORY.getByName('directory')
  const v = MESSAGE_VERSION
  const { tenants } = await directory.names({ v })
  for (const { name } of tenants ?? []) await directory.heard({ v, name, due: 1 })
  await expect(scheduled(environment({ REPLICATOR: spent as never }))).rejects.toThrow(/spending cap/)
  // Those that were asked at the same time, and no other.
  expect(asked).toBeLessThanOrEqual(20)
  asked = 0
  const names = () => directory.names({ v })
  const DIRECTORY = { getByName: () => ({ names, overdue: rejected, record: rejected }) } as never
  await expect(scheduled(environment({ DIRECTORY, REPLICATOR: spent as never }))).rejects.toThrow(/spending cap/)
  expect(asked).toBe(1)
  const token = await tokenAt(bytes(2), 'rockpool:acme')
  const answer = await ask('/t/acme/write-checkpoint2.json', token, environment({ REPLICATOR: spent as never }))
  expect([answer.status, answer.error?.code, answer.headers.get('retry-after')]).toEqual([
    503,
    'ROCKPOOL_SPENDING',
    '60',
  ])
})

test('requests for names that do not exist call no object, but for the list of names once in 30 seconds', async () => {
  let calls = 0
  const DIRECTORY = new Proxy(env.DIRECTORY, {
    get: (target, key) => {
      const value: unknown = Reflect.get(target, key)
      if (key !== 'getByName') return value
      return (name: string) => (calls++, target.getByName(name))
    },
  })
  const bindings = environment({ DIRECTORY })
  const token = await tokenAt(bytes(2), 'rockpool:acme')
  const began = Date.now()
  for (let n = 0; n < UNKNOWN_NAMES; n++) expect((await ask(`/t/nobody-${n}/status`, token, bindings)).status).toBe(404)
  expect(touched).toEqual([])
  expect(calls).toBeLessThanOrEqual(1 + Math.ceil((Date.now() - began) / 30_000))
}, 300_000)

test('limits of a tenant are stored and shown, one by one', async () => {
  const limits = async () => (await admin('GET', 'tenants/acme')).data
  const change = async (given: object) => {
    const { version } = (await limits()) ?? {}
    return admin('PATCH', 'tenants/acme', { limits: given }, { 'if-match': `"${String(version)}"` })
  }
  expect((await change({ streams: { warn: 80, refuse: 100 }, rowsPerDay: { refuse: 5_000 } })).status).toBe(200)
  expect((await change({ streams: null })).data?.limits).toEqual({ rowsPerDay: { warn: null, refuse: 5_000 } })
  expect((await change({ rowsPerDay: { warn: 2, refuse: 1 } })).status).toBe(400)
  expect((await change({ rowsPerDay: null })).data?.limits).toEqual({})
})

test('two tenants on one project of an identity provider are told apart by a claim, and by nothing else', async () => {
  const shared = { JWT_AUDIENCE: 'authenticated' }
  const make = (name: string, tenantClaim?: string) =>
    admin(
      'PUT',
      `tenants/${name}`,
      tenant(name, 6, { settings: shared, ...(tenantClaim !== undefined && { tenantClaim }) }),
      NEW,
    )
  expect((await make('one', 'org')).status).toBe(201)
  expect((await make('two')).error?.description).toContain('tenant one')
  expect((await make('two', 'org')).status).toBe(201)
  // Who was made was woken.
  expect(touched).toEqual(['REPLICATOR one', 'REPLICATOR two'])
  touched = []
  // A fresh binding stands for an isolate that has read neither.
  const fresh = environment({
    DIRECTORY: { getByName: (name: string) => env.DIRECTORY.getByName(name) } as NonNullable<Environment['DIRECTORY']>,
  })
  const at = async (name: string, claims: Record<string, unknown>) =>
    (await ask(`/t/${name}/write-checkpoint2.json`, await tokenAt(bytes(6), 'authenticated', claims), fresh)).status
  expect([await at('one', { org: 'one' }), await at('two', { org: 'two' })]).toEqual([200, 200])
  expect(touched).toEqual(['REPLICATOR one', 'REPLICATOR two'])
  for (const claims of [{}, { org: 'two' }, { org: ['one'] }, { org: null }]) expect(await at('one', claims)).toBe(401)
  expect(touched.length).toBe(2)
})
