import { unstable_readConfig } from 'wrangler'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { check } from './check.ts'
import { checkSettings } from './check-settings.ts'
import { serviceVars } from './service-vars.ts'

const SERVICE = `
replication:
  connections: [{type: postgresql, uri: !env PS_DATA_SOURCE_URI}]
client_auth:
  supabase: true
  supabase_jwt_secret: !env SECRET
  jwks_uri: [https://a.example/keys, https://b.example/keys]
  audience: [app, "https://x"]
  block_local_jwks: true
api:
  tokens: [secret]
  parameters:
    max_buckets_per_connection: 2000
    max_parameter_query_results: !env ROWS
`

test('settings that correspond become [vars] of wrangler.toml, which wrangler reads and Rockpool accepts, without secrets', async () => {
  const vars = serviceVars(SERVICE)
  expect(vars.split('\n')).toEqual([
    '[vars]',
    'JWT_AUDIENCE = "app,https://x"',
    'JWKS_URL = "https://a.example/keys,https://b.example/keys"',
    'JWKS_REJECT_IP_RANGES = "local"',
    '# SUPABASE_URL = "https://….supabase.co": the address of your project',
    'MAX_BUCKETS = 2000',
    '# MAX_LOOKUP_ROWS = "…": what $ROWS is there',
    '# OPERATOR_KEYS and OPERATOR_AUDIENCE: operators have tokens that are signed (docs/auth.md)',
    '',
    '# npx wrangler secret put DATABASE_URL',
    '# npx wrangler secret put SUPABASE_JWT_SECRET',
  ])
  const directory = mkdtempSync(join(tmpdir(), 'rockpool-vars-'))
  try {
    const path = join(directory, 'wrangler.toml')
    writeFileSync(path, `name = "x"\ncompatibility_date = "2026-10-15"\n${vars}\n`)
    const read: Record<string, unknown> = unstable_readConfig({ config: path }, { hideWarnings: true }).vars
    expect(read).toMatchObject({ MAX_BUCKETS: 2000, JWT_AUDIENCE: 'app,https://x' })
    expect((await checkSettings({ ...read, LOCATION: 'weur' })).filter(({ level }) => level === 'error')).toEqual([])
    const service = join(directory, 'service.yaml')
    writeFileSync(service, SERVICE)
    const { output, ok } = await check([service, '--data', directory], false)
    expect([ok, output]).toEqual([false, expect.stringContaining(`\n\nfor wrangler.toml:\n\n${vars}`)])
  } finally {
    rmSync(directory, { recursive: true })
  }
})

test('false and empty values are not set', () => {
  const off =
    'client_auth:\n  supabase: false\n  supabase_jwt_secret:\n  block_local_jwks: false\n  audience: []\n  jwks_uri: ~\napi: {tokens: []}\n'
  expect(serviceVars(off).split('\n')).toEqual([
    '[vars]',
    '# JWT_AUDIENCE = "…": the audience of your tokens, which must be given',
    '',
    '# npx wrangler secret put DATABASE_URL',
  ])
})

test.each([
  'storage: 1\n',
  'client_auth: !env X\n',
  'client_auth: [1]\napi: 5\n',
  'client_auth: {jwks: {keys: [{kty: oct, k: c2VjcmV0}]}}\n',
])('%s is bounded, and shows no secret', (yaml) => {
  expect(serviceVars(yaml)).toMatch(/^\[vars\]\n# JWT_AUDIENCE/)
  expect(serviceVars(yaml)).not.toContain('c2VjcmV0')
})
