import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { compileConfig } from './compile.ts'
import { SERVICE_KEYS } from './parse/service.ts'

const SERVICE = `
telemetry:
  disable_telemetry_sharing: true
replication:
  connections:
    - type: postgresql
      uri: !env PS_DATA_SOURCE_URI
      sslmode: verify-full
storage:
  type: mongodb
  uri: !env PS_MONGO_URI
port: 8080
sync_rules:
  path: sync-rules.yaml
client_auth:
  supabase: false
  jwks_uri: https://api.example.com/keys
  audience: [app, "https://x"]
  unknown: 1
api:
  tokens: [secret]
  parameters:
    max_buckets_per_connection: 2000
`

test('the configuration of a PowerSync service is reported as such, with what replaces each part here', () => {
  const result = compileConfig(SERVICE)
  expect(result.ok ? [] : result.errors.map(({ code }) => code)).toEqual(['service-config'])
  const told = result.warnings.map(({ code, message, place }) => [code, message, place.line])
  expect(told).toEqual([
    ['service-config', "'telemetry' corresponds to: nothing: no telemetry is sent.", 2],
    ['service-config', "'replication.connections' corresponds to: the secret DATABASE_URL; one Postgres.", 5],
    ['service-config', "'storage' corresponds to: nothing: buckets are stored in Durable Objects.", 9],
    ['service-config', expect.stringMatching(/^'port' corresponds to:/), 12],
    ['service-config', expect.stringMatching(/^'sync_rules' corresponds to: this file:/), 13],
    ['service-config', "'client_auth.supabase' is off there, so nothing needs to be set here.", 16],
    ['service-config', "'client_auth.jwks_uri' corresponds to: JWKS_URL.", 17],
    ['service-config', "'client_auth.audience' corresponds to: JWT_AUDIENCE, which is required.", 18],
    ['service-config', expect.stringMatching(/^'api\.tokens' corresponds to: OPERATOR_KEYS/), 21],
    ['service-config', "'api.parameters.max_buckets_per_connection' corresponds to: MAX_BUCKETS.", 23],
  ])
})

test('what is false or empty there is not reported as set', () => {
  const yaml =
    'client_auth:\n  supabase: true\n  block_local_jwks: false\n  supabase_jwt_secret:\n  jwks_uri: ~\n  audience: ""\n'
  expect(compileConfig(yaml).warnings.map(({ message }) => message)).toEqual([
    "'client_auth.supabase' corresponds to: SUPABASE_URL.",
    "'client_auth.block_local_jwks' is off there, so nothing needs to be set here.",
    "'client_auth.supabase_jwt_secret' is off there, so nothing needs to be set here.",
    "'client_auth.jwks_uri' is off there, so nothing needs to be set here.",
    "'client_auth.audience' corresponds to: JWT_AUDIENCE, which is required.",
  ])
})

test.each([
  'storage: 1\n',
  'replication: {connections: &a [*a]}\n',
  'client_auth: !env X\n',
  'api: 1\nsync_rules: {}\n',
  'replication: [1]\n',
])('%s says no more than it can', (yaml) => {
  const result = compileConfig(yaml)
  expect(result.ok ? [] : result.errors.map(({ code }) => code)).toEqual(['service-config'])
})

test('a sync config with a key of a service is a sync config with a wrong key', () => {
  const result = compileConfig('storage: {}\nstreams: {}\nconfig: {edition: 3}\n')
  expect(result.ok ? [] : result.errors.map(({ code }) => code)).toEqual(['unknown-key'])
})

test('docs/sync-config.md has the list', () => {
  const text = readFileSync(new URL('../docs/sync-config.md', import.meta.url), 'utf8')
  const section = text.slice(text.indexOf('### The file of the service'), text.indexOf('\n## Checking'))
  const listed = [...section.matchAll(/^\| `([^`]+)` +\| (.*?) +\|$/gm)].map(([, key = '', here = '']) => [
    key,
    here.replaceAll('`', ''),
  ])
  expect(listed).toEqual(Object.entries(SERVICE_KEYS))
})
