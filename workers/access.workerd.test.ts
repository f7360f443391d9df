import { createExecutionContext, env, runInDurableObject, waitOnExecutionContext } from 'cloudflare:test'
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey } from 'jose'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import type { Environment } from '../durable-objects/environment.ts'
import { app } from './app.ts'

// Operators who sign in by Cloudflare Access, at each kind of address. How an assertion is verified:
// auth/access.test.ts.

const TENANT_KEYS = `one:${Buffer.alloc(32, 1).toString('base64url')}`
const OPERATORS = Buffer.alloc(32, 9)
const USERS = Buffer.alloc(32, 2)
const ISSUER = 'https://acme.cloudflareaccess.com'
const ROLES = { 'ann@example.com': ['read', 'tenants', 'write'], 'acme@example.com': ['read:acme'] }
let key: CryptoKey
let assertion: string

const signed = (email: string, aud = 'tag') =>
  new SignJWT({ email, type: 'app', sub: 'x' })
    .setProtectedHeader({ alg: 'RS256', kid: 'team', typ: 'JWT' })
    .setIssuer(ISSUER)
    .setAudience(aud)
    .setIssuedAt()
    .setExpirationTime('5m')
    .sign(key)
const tokenOf = (secret: Uint8Array, audience: string, typ: string, claims: object = {}) =>
  new SignJWT({ sub: 'bob', ...claims })
    .setProtectedHeader({ alg: 'HS256', typ, ...(secret === OPERATORS && { kid: 'ops' }) })
    .setAudience(audience)
    .setIssuedAt()
    .setExpirationTime('5m')
    .sign(secret)

const replicator = {
  status: async () => ({
    state: 'live',
    failingBuckets: [],
    fencedBuckets: [],
    skippedRows: { count: 0, recent: [] },
    diagnostics: { counts: {}, recent: [] },
  }),
  wake: async () => ({}),
}
const environment = (settings: Partial<Environment> = {}): Environment => ({
  REPLICATOR: { getByName: () => replicator } as never,
  BUCKET: env.BUCKET,
  RELAY: env.RELAY,
  DIRECTORY: env.DIRECTORY,
  TENANT_KEYS,
  OPERATOR_KEYS: JSON.stringify({
    keys: [{ kty: 'oct', kid: 'ops', k: OPERATORS.toString('base64url'), permissions: ['data'] }],
  }),
  OPERATOR_AUDIENCE: 'operators',
  ACCESS_TEAM: 'acme',
  ACCESS_AUD: 'tag',
  ACCESS_ROLES: JSON.stringify(ROLES),
  LOCATION: 'weur',
  ...settings,
})

async function send(path: string, headers: Record<string, string>, bindings = environment(), init: RequestInit = {}) {
  const context = createExecutionContext()
  const request = new Request(new URL(path, 'https://sync.example'), { ...init, headers })
  const response = await app.fetch(request, bindings, context)
  const text = await response.text()
  await waitOnExecutionContext(context)
  const { error } = JSON.parse(text) as { error?: { code: string } }
  return { status: response.status, code: error?.code, text, said: [response.status, error?.code] }
}
const COMMAND = { 'x-rockpool-admin': '1', 'content-type': 'application/json' }
const accessed = async (email: string) => ({ 'cf-access-jwt-assertion': await signed(email) })
const tenant = (settings = {}) =>
  JSON.stringify({
    secrets: { DATABASE_URL: 'postgres://me:x@acme.example/app', JWT_SECRET: USERS.toString('base64url') },
    settings,
  })
const NEW = { ...COMMAND, 'if-none-match': '*' }

beforeAll(async () => {
  const { privateKey, publicKey } = await generateKeyPair('RS256', { extractable: true })
  key = privateKey
  const keys = [{ ...(await exportJWK(publicKey)), kid: 'team', alg: 'RS256', use: 'sig' }]
  // No test here leaves the machine: the team's certificates are these.
  vi.stubGlobal('fetch', async (url: string) =>
    url === `${ISSUER}/cdn-cgi/access/certs` ? Response.json({ keys }) : expect.unreachable(url),
  )
  const give = (object: object) => void Object.assign(Reflect.get(object, 'env') as object, { TENANT_KEYS })
  await runInDurableObject(env.DIRECTORY.getByName('directory'), give)
  assertion = await signed('ann@example.com')
})
afterAll(() => void vi.unstubAllGlobals())

test('an operator of Access makes a tenant, and the audit names the address', async () => {
  const headers = { ...NEW, ...(await accessed('ann@example.com')) }
  const made = await send('/admin/tenants/acme', headers, environment(), { method: 'PUT', body: tenant() })
  expect(made.said).toEqual([201, undefined])
  const audit = { authorization: `Token ${await tokenOf(OPERATORS, 'operators', 'rockpool-operator+jwt')}` }
  expect((await send('/admin/audit', audit)).text).toContain('"by":"ann@example.com","key":"access","action":"create"')
})

test('each may do what the role says, at the address of the deployment and of a tenant', async () => {
  const [ann, acme, nobody] = [
    await accessed('ann@example.com'),
    await accessed('acme@example.com'),
    await accessed('eve@example.com'),
  ]
  expect((await send('/t/acme/admin/status', ann)).said).toEqual([200, undefined])
  expect((await send('/t/acme/admin/status', acme)).said).toEqual([200, undefined])
  expect((await send('/t/acme/admin/clients', ann)).said).toEqual([403, 'ROCKPOOL_PERMISSION'])
  expect((await send('/admin/tenants/other', acme)).said).toEqual([403, 'ROCKPOOL_PERMISSION'])
  for (const path of ['/t/acme/admin/status', '/admin/tenants', '/admin/openapi.json'])
    expect((await send(path, nobody)).said).toEqual([403, 'ROCKPOOL_PERMISSION'])
})

test('a cookie says nothing, nor does an assertion beside a token, or where it is not looked for', async () => {
  const none = [401, 'PSYNC_S2106']
  for (const path of ['/t/acme/admin/status', '/admin/tenants']) {
    expect((await send(path, { cookie: `CF_Authorization=${assertion}` })).said).toEqual(none)
    expect((await send(path, { 'cf-access-jwt-assertion': '' })).said).toEqual([401, 'PSYNC_S2101'])
    expect((await send(path, { 'cf-access-token': assertion })).said).toEqual(none)
    const asToken = { authorization: `Bearer ${assertion}` }
    expect((await send(path, asToken)).said).toEqual([403, 'ROCKPOOL_OPERATOR'])
    const both = { 'cf-access-jwt-assertion': assertion, authorization: 'Bearer x' }
    expect((await send(path, both)).said).toEqual([401, 'PSYNC_S2101'])
    const another = { 'cf-access-jwt-assertion': await signed('ann@example.com', 'another') }
    expect((await send(path, another)).said).toEqual([401, 'PSYNC_S2105'])
  }
  for (const path of ['/t/acme/status', '/t/acme/buckets', '/t/acme/write-checkpoint2.json'])
    expect((await send(path, { 'cf-access-jwt-assertion': assertion })).said).toEqual(none)
  const { ACCESS_TEAM: _, ACCESS_AUD: __, ACCESS_ROLES: ___, ...without } = environment()
  for (const path of ['/t/acme/admin/status', '/admin/tenants'])
    expect((await send(path, { 'cf-access-jwt-assertion': assertion }, without)).said).toEqual(none)
})

test('no page of another origin gets through with it', async () => {
  const ann = await accessed('ann@example.com')
  const suspend = (headers: Record<string, string>) =>
    send('/admin/tenants/acme/suspend', { ...ann, ...headers }, environment(), { method: 'POST', body: '{}' })
  expect((await suspend({ 'content-type': 'application/json' })).said).toEqual([403, 'ROCKPOOL_OPERATOR'])
  expect((await suspend({ ...COMMAND, 'content-type': 'text/plain' })).said).toEqual([415, 'PSYNC_S2004'])
  const foreign: Record<string, string>[] = [
    { origin: 'https://evil.example' },
    { origin: 'null' },
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site' },
  ]
  for (const headers of foreign) {
    expect((await suspend({ ...COMMAND, ...headers })).said).toEqual([403, 'ROCKPOOL_OPERATOR'])
    expect((await send('/t/acme/admin/status', { ...ann, ...headers })).said).toEqual([403, 'ROCKPOOL_OPERATOR'])
  }
  expect((await send('/admin/tenants/acme', ann)).text).toContain('"state":"active"')
})

test('where operators sign in by Access, the claim of a user opens nothing, also in a deployment with one tenant', async () => {
  const {
    TENANT_KEYS: _,
    OPERATOR_KEYS: __,
    ...single
  } = environment({
    JWT_SECRET: USERS.toString('base64url'),
    JWT_AUDIENCE: 'app',
  })
  const user = { authorization: `Token ${await tokenOf(USERS, 'app', 'JWT', { operator: true })}` }
  expect((await send('/admin/status', user, single)).said).toEqual([403, 'ROCKPOOL_OPERATOR'])
  expect((await send('/status', user, single)).text).not.toContain('notes')
  expect((await send('/admin/status', await accessed('ann@example.com'), single)).said).toEqual([200, undefined])
  // And without it, as before.
  const { ACCESS_TEAM: ___, ACCESS_AUD: ____, ACCESS_ROLES: _____, ...before } = single
  expect((await send('/admin/status', user, before)).said).toEqual([200, undefined])
})

test('no tenant is stored whose users an assertion would make, and a deployment of Access alone has its tenants', async () => {
  const { OPERATOR_KEYS: _, ...alone } = environment()
  const ann = { ...NEW, ...(await accessed('ann@example.com')) }
  for (const settings of [{ JWT_AUDIENCE: 'tag' }, { JWKS_URL: `${ISSUER}/cdn-cgi/access/certs`, JWT_AUDIENCE: 'x' }]) {
    const made = await send('/admin/tenants/b', ann, alone, { method: 'PUT', body: tenant(settings) })
    expect(made.said).toEqual([409, 'ROCKPOOL_TENANT_CONFLICT'])
  }
  const user = { authorization: `Token ${await tokenOf(USERS, 'rockpool:acme', 'JWT', { operator: true })}` }
  expect((await send('/admin/tenants', user, alone)).said).toEqual([403, 'ROCKPOOL_OPERATOR'])
})
