import { expect, test } from 'vitest'
import { authority, utc } from '../sources/postgres/tls/chain/test-authority.ts'
import { certificatePem, privateAuthority } from '../test/support/private-authority.ts'
import { checkSettings, readSettings } from './check-settings.ts'

const told = async (settings: Record<string, unknown>) =>
  (await checkSettings({ JWT_AUDIENCE: 'app', LOCATION: 'weur', ...settings })).map(
    ({ level, message }) => `${level} ${message}`,
  )

test('settings that the script takes', async () => {
  expect(await told({})).toEqual([])
  expect(await told({ MAX_BUCKETS: 500, WAL_KEEP_GB: '5', DATABASE_URL: 'postgres://u:p@127.0.0.1/d' })).toEqual([])
  expect(await checkSettings(await readSettings({ LOCATION: 'weur' }))).toEqual([])
})

test('each setting that it refuses is named, once', async () => {
  expect(
    await told({ WAL_KEEP_GB: 'x', SLOT: 'A', RELAYS: '0', COMPACTION_BYTES: -1, MAX_BUCKETS: 'x', JWT_AUDIENCE: '' }),
  ).toEqual([
    expect.stringMatching(/^error SLOT: /),
    expect.stringMatching(/^error WAL_KEEP_GB: /),
    expect.stringMatching(/^error MAX_BUCKETS: /),
    expect.stringMatching(/^error COMPACTION_BYTES: /),
    expect.stringMatching(/^error RELAYS: /),
    expect.stringMatching(/^error .*JWT_AUDIENCE is not set/),
  ])
})

test('a name that is nearly one of a setting; others are none of our business', async () => {
  expect(
    await told({
      PUBLICATON: 'app',
      JWKS_URI: 'https://a.example',
      PATH: '/bin',
      EDITOR: 'vi',
      DATABASE: 'app',
      SLOTS: '2',
    }),
  ).toEqual([
    'warning PUBLICATON is not a setting and has no effect. Did you mean PUBLICATION?',
    'warning JWKS_URI is not a setting and has no effect. Did you mean JWKS_URL?',
    'warning SLOTS is not a setting and has no effect. Did you mean SLOT?',
  ])
})

test('keys of operators', async () => {
  expect(await told({ OPERATOR_KEYS: 'x', OPERATOR_AUDIENCE: 'ops' })).toEqual([
    expect.stringMatching(/^error .*OPERATOR_KEYS is not a JSON Web Key Set/),
  ])
})

test('a place that is chance', async () => {
  expect(await told({ LOCATION: '' })).toEqual([expect.stringMatching(/^warning LOCATION is not set: chance/)])
})

test.each([
  ['sslmode=prefer', /^error DATABASE_URL: sslmode=prefer .* refused/],
  ['sslmode=allow', /^error DATABASE_URL: sslmode=allow .* refused/],
  ['sslmode=disable', /^warning DATABASE_URL: sslmode=disable: .*plain text/],
  ['sslmode=no', /^error DATABASE_URL: sslmode=no is not known/],
  ['nonsense=1', /^error DATABASE_URL: .*nonsense/],
])('a database URL with %s', async (parameter, message) => {
  const found = await told({ DATABASE_URL: `postgres://u:geheim@db.example/d?${parameter}` })
  expect(found).toEqual([expect.stringMatching(message)])
  expect(found.join()).not.toContain('geheim')
})

test('authorities of the database: none in it, a contradiction, too many, expired ones', async () => {
  const { ca } = privateAuthority()
  const url = 'postgres://u:p@db.example/d'
  expect(await told({ DATABASE_CA: ca, DATABASE_URL: url })).toEqual([])
  expect(await told({ DATABASE_CA: ca })).toEqual([])
  expect(await told({ DATABASE_CA: ca.replace('BEGIN', 'END'), DATABASE_URL: url })).toContainEqual(
    expect.stringMatching(/^error DATABASE_CA: /),
  )
  expect(await told({ DATABASE_CA: ca, DATABASE_URL: `${url}?sslmode=disable` })).toContainEqual(
    expect.stringMatching(/^error DATABASE_CA names .* sslmode=disable.*remove one of them/),
  )
  expect(await told({ DATABASE_CA: ca, DATABASE_URL: 'postgres://u:p@localhost/d' })).toEqual([
    expect.stringMatching(/^warning DATABASE_CA has no effect/),
  ])
  const many = Array.from({ length: 12 }, () => privateAuthority().ca).join('')
  expect(await told({ DATABASE_CA: many, DATABASE_URL: url })).toEqual([
    expect.stringMatching(/^warning DATABASE_CA has \d+ bytes, and Cloudflare takes 5120/),
  ])
  const old = certificatePem(authority({ cn: ['Old'], to: utc('210101000000Z') }))
  expect(await told({ DATABASE_CA: ca + old, DATABASE_URL: url })).toEqual([
    'warning DATABASE_CA: CN=Old expired on 2021-01-01: take it out',
  ])
  expect(await told({ DATABASE_CA: old, DATABASE_URL: url })).toEqual([
    'error DATABASE_CA: every certificate in it has expired (CN=Old)',
  ])
})
