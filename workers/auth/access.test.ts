import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK } from 'jose'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { startKeyServer, type KeyServer } from '../../test/support/key-server.ts'
import { accessOperator, accessSettings } from './access.ts'

// Assertions of Cloudflare Access, with a team of our own: a server on this machine that has its certificates.

const AUD = '32eafc7626e974616deaf0dc3ce63d7bcbed58a2731e84d06bc3cdf1b53c4228'
const ROLES = {
  'ann@example.com': ['read', 'deploy:acme'],
  'group:platform': ['write'],
  'service:e367.access': ['deploy'],
}
let team: KeyServer
let issuer: string
let own: { privateKey: CryptoKey; jwk: JWK }
let foreign: CryptoKey
let now: number

async function pair(kid: string) {
  const { privateKey, publicKey } = await generateKeyPair('RS256', { extractable: true })
  return { privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg: 'RS256', use: 'sig' } }
}
beforeAll(async () => {
  own = await pair('team-1')
  foreign = (await pair('team-1')).privateKey
})
beforeEach(async () => {
  // Each has an address of its own, and keys that nobody has fetched.
  team = await startKeyServer()
  team.publish(own.jwk)
  issuer = new URL(team.url).origin
  now = Math.floor(Date.now() / 1_000)
  return () => team.close()
})
afterAll(() => team.close())

const settings = (more: object = {}) => ({
  ACCESS_TEAM: issuer,
  ACCESS_AUD: AUD,
  ACCESS_ROLES: JSON.stringify(ROLES),
  ...more,
})
const identity = () => ({
  aud: [AUD],
  email: 'ann@example.com',
  exp: now + 60,
  iat: now,
  nbf: now,
  iss: issuer,
  type: 'app',
  sub: '7335d417-61da-459d-899c-0a01c76a2f94',
  country: 'US',
})
const service = () => ({
  type: 'app',
  aud: [AUD],
  exp: now + 60,
  iat: now,
  iss: issuer,
  common_name: 'e367.access',
  sub: '',
})
const signed = (claims: object, key = own.privateKey, header: object = {}) =>
  new SignJWT({ ...claims }).setProtectedHeader({ alg: 'RS256', kid: 'team-1', typ: 'JWT', ...header }).sign(key)
const operator = async (assertion: string, bindings = settings(), at?: Date) =>
  (await accessOperator(bindings, assertion, { ...(at && { now: at }) })) ?? expect.fail('Access is not used')

test('who has signed in may do what the role of the address or of a group says, and nothing without one', async () => {
  const ann = await operator(await signed(identity()))
  expect([ann.by, ann.key]).toEqual(['ann@example.com', 'access'])
  expect([ann.may('read', 'all'), ann.may('deploy', { tenant: 'acme' }), ann.may('deploy', 'all')]).toEqual([
    true,
    true,
    false,
  ])
  expect([ann.may('write', 'any'), ann.may('tenants', 'any'), ann.may('data', 'any')]).toEqual([false, false, false])
  const grouped = await operator(
    await signed({ ...identity(), email: 'bob@example.com', custom: { groups: ['platform'] } }),
  )
  expect([grouped.may('write', 'all'), grouped.may('read', 'any')]).toEqual([true, false])
  const ci = await operator(await signed(service()))
  expect([ci.by, ci.may('deploy', 'all'), ci.may('read', 'any')]).toEqual(['service:e367.access', true, false])
})

test('nobody has a role by looking like somebody who has one', async () => {
  const claims: object[] = [
    { email: 'bob@example.com' },
    { email: 'ANN@example.com' },
    { email: 'ann@example.com ' },
    { email: 'group:platform' },
    { email: 'group:platform@' },
    { email: 'bob@example.com', sub: 'ann@example.com', name: 'ann@example.com' },
    { email: 'bob@example.com', common_name: 'e367.access' },
    { email: 'bob@example.com', groups: ['Platform', 'platform ', ['platform'], { name: 'platform' }] },
    { email: 'bob@example.com', groups: ['toString', '__proto__', 'constructor'] },
    { email: '__proto__@' },
    { email: ['ann@example.com'], common_name: 'platform' },
    { email: undefined, common_name: 'other.access' },
    { email: undefined, common_name: 'ann@example.com' },
  ]
  for (const each of claims) {
    const found = await accessOperator(settings(), await signed({ ...identity(), ...each })).catch(
      (error: unknown) => error,
    )
    if (found instanceof Error) expect(found).toMatchObject({ code: 'PSYNC_S2101' })
    else
      for (const permission of ['read', 'data', 'deploy', 'write', 'tenants'] as const)
        expect([each, permission, (found as Awaited<ReturnType<typeof operator>>).may(permission, 'any')]).toEqual([
          each,
          permission,
          false,
        ])
  }
})

test('an assertion that is forged, of another team, application or purpose, or out of date is refused by its code', async () => {
  const refused = async (code: string, assertion: string | Promise<string>) =>
    expect(operator(await assertion)).rejects.toMatchObject({ code, status: 401 })
  await refused('PSYNC_S2102', signed(identity(), foreign))
  await refused('PSYNC_S2101', signed(identity(), own.privateKey, { kid: 'team-2' }))
  await refused('PSYNC_S2105', signed({ ...identity(), aud: ['another application'] }))
  await refused('PSYNC_S2105', signed({ ...identity(), aud: AUD.slice(1) }))
  await refused('PSYNC_S2105', signed({ ...identity(), aud: undefined }))
  await refused('PSYNC_S2101', signed({ ...identity(), iss: 'https://evil.cloudflareaccess.com' }))
  await refused('PSYNC_S2101', signed({ ...identity(), iss: `${issuer}/` }))
  await refused('PSYNC_S2101', signed({ ...identity(), iss: undefined }))
  await refused('PSYNC_S2101', signed({ ...identity(), type: 'org' }))
  await refused('PSYNC_S2101', signed({ ...identity(), type: undefined }))
  await refused('PSYNC_S2103', signed({ ...identity(), iat: now - 999, nbf: now - 999, exp: now - 61 }))
  await refused('PSYNC_S2101', signed({ ...identity(), exp: undefined }))
  await refused('PSYNC_S2101', signed({ ...identity(), nbf: now + 999 }))
  await refused('PSYNC_S2101', signed({ ...identity(), email: undefined }))
  await refused('PSYNC_S2101', signed(identity(), own.privateKey, { typ: 'rockpool-operator+jwt' }))
  const [, payload = ''] = (await signed(identity())).split('.')
  const unsigned = Buffer.from(JSON.stringify({ alg: 'none', kid: 'team-1' })).toString('base64url')
  for (const forged of [`${unsigned}.${payload}.`, `${unsigned}.${payload}`, payload, '', 'x'.repeat(40_000)])
    await refused('PSYNC_S2101', forged)
  // The public key of the team is no secret, also when the header says that it is one.
  const secret = new TextEncoder().encode(JSON.stringify(own.jwk).padEnd(64))
  const confused = new SignJWT(identity()).setProtectedHeader({ alg: 'HS256', kid: 'team-1' }).sign(secret)
  await refused('PSYNC_S2101', confused)
  // Yesterday's assertion, which was good then.
  const yesterday = await signed({ ...identity(), iat: now - 86_400, nbf: now - 86_400, exp: now - 80_000 })
  expect((await operator(yesterday, settings(), new Date((now - 86_000) * 1_000))).by).toBe('ann@example.com')
  await refused('PSYNC_S2103', yesterday)
})

test('the keys of the team are fetched once, and again for a key that is new', async () => {
  const bindings = settings()
  const assertion = await signed(identity())
  await Promise.all(Array.from({ length: 20 }, () => operator(assertion, bindings)))
  expect(team.requests).toBe(1)
  // A flood of invented keys fetches nothing: the last fetch is not 6 s old.
  for (let n = 0; n < 20; n++)
    await operator(await signed(identity(), foreign, { kid: `k${n}` }), bindings).catch(() => {})
  expect(team.requests).toBe(1)
})

test('a team that does not answer, or answers something else, is told by a code within its deadline', async () => {
  const assertion = await signed(identity())
  team.answer = (response) => response.writeHead(500).end()
  await expect(operator(assertion)).rejects.toMatchObject({ code: 'PSYNC_S2204', status: 401 })
  const moved = await startKeyServer()
  moved.answer = (response) => response.writeHead(302, { location: team.url }).end()
  await expect(
    operator(
      await signed({ ...identity(), iss: new URL(moved.url).origin }),
      settings({ ACCESS_TEAM: new URL(moved.url).origin }),
    ),
  ).rejects.toMatchObject({ code: 'PSYNC_S2204' })
  await moved.close()
  const silent = await startKeyServer()
  silent.answer = () => {}
  await expect(operator(assertion, settings({ ACCESS_TEAM: new URL(silent.url).origin }))).rejects.toMatchObject({
    code: 'PSYNC_S2204',
  })
  await silent.close()
}, 30_000)

test('settings are whole, or refused by their names', async () => {
  expect(accessSettings({})).toBeNull()
  const team1 = { ACCESS_TEAM: 'acme', ACCESS_AUD: AUD, ACCESS_ROLES: '{}' }
  for (const name of ['acme', 'acme.cloudflareaccess.com', 'https://acme.cloudflareaccess.com/'])
    expect(accessSettings({ ...team1, ACCESS_TEAM: name })?.auth.remote).toMatchObject([
      {
        url: new URL('https://acme.cloudflareaccess.com/cdn-cgi/access/certs'),
        policy: { issuers: ['https://acme.cloudflareaccess.com'], audiences: [AUD] },
      },
    ])
  const wrong: [string, object][] = [
    ['ACCESS_TEAM', { ACCESS_TEAM: '' }],
    ['ACCESS_TEAM', { ACCESS_TEAM: 'http://acme.cloudflareaccess.com' }],
    ['ACCESS_AUD', { ACCESS_AUD: ' , ' }],
    ['ACCESS_AUD', { JWT_AUDIENCE: `app, ${AUD}` }],
    ['ACCESS_ROLES', { ACCESS_ROLES: undefined }],
    ['ACCESS_ROLES', { ACCESS_ROLES: '[]' }],
    ['ACCESS_ROLES', { ACCESS_ROLES: '{"ann": ["read"]}' }],
    ['ACCESS_ROLES', { ACCESS_ROLES: '{"ann@example.com": ["all"]}' }],
    ['ACCESS_ROLES', { ACCESS_ROLES: '{"ann@example.com": []}' }],
    [
      'ACCESS_ROLES',
      {
        ACCESS_ROLES: JSON.stringify(
          Object.fromEntries(Array.from({ length: 1_001 }, (_, n) => [`a${n}@b`, ['read']])),
        ),
      },
    ],
  ]
  for (const [name, each] of wrong)
    expect(() => accessSettings({ ...team1, ...each })).toThrow(
      expect.objectContaining({ code: 'PSYNC_S2201', message: expect.stringContaining(name) }),
    )
})
