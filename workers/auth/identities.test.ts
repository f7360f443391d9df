import { expect, test } from 'vitest'
import { shareTokens } from '../../tenants/stored/identities.ts'
import type { TokenSettings } from '../../tenants/tokens.ts'
import { identitiesOf, refuseOperators } from './identities.ts'

const SECRET = Buffer.alloc(32, 7)
const base64url = SECRET.toString('base64url')
const jwk = (k: string, more: object = {}) => JSON.stringify({ keys: [{ kty: 'oct', k, ...more }] })
const PROJECT = 'https://abc.supabase.co'
const FIREBASE = 'https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com'

const share = (a: TokenSettings, b: TokenSettings, claim: string | null = null) =>
  shareTokens({ claim, identities: identitiesOf(a) }, { claim, identities: identitiesOf(b) })

// Each form of an identity provider, at two tenants.
test.each<[string, TokenSettings, TokenSettings, boolean]>([
  [
    'one secret, two audiences',
    { JWT_SECRET: base64url, JWT_AUDIENCE: 'a' },
    { JWT_SECRET: base64url, JWT_AUDIENCE: 'b' },
    false,
  ],
  [
    'one secret, one audience',
    { JWT_SECRET: base64url, JWT_AUDIENCE: 'a' },
    { JWT_SECRET: base64url, JWT_AUDIENCE: 'b,a' },
    true,
  ],
  [
    'one secret in two forms',
    { JWT_SECRET: base64url, JWT_AUDIENCE: 'a' },
    { JWT_KEYS: jwk(`${base64url}=`, { kid: 'x' }), JWT_AUDIENCE: 'a' },
    true,
  ],
  [
    'one key set, two issuers',
    { JWKS_URL: 'https://id.example/keys', JWT_AUDIENCE: 'a', JWT_ISSUER: 'https://one.example' },
    { JWKS_URL: 'https://id.example/keys', JWT_AUDIENCE: 'a', JWT_ISSUER: 'https://two.example' },
    false,
  ],
  [
    'one key set',
    { JWKS_URL: 'https://id.example/keys', JWT_AUDIENCE: 'a', JWT_ISSUER: 'https://one.example' },
    { JWKS_URL: 'https://ID.example:443/keys', JWT_AUDIENCE: 'a' },
    true,
  ],
  ['one Supabase project', { SUPABASE_URL: PROJECT }, { SUPABASE_URL: `${PROJECT}/` }, true],
  ['two Supabase projects', { SUPABASE_URL: PROJECT }, { SUPABASE_URL: 'https://def.supabase.co' }, false],
  ['one secret of Supabase', { SUPABASE_JWT_SECRET: 's'.repeat(40) }, { SUPABASE_JWT_SECRET: 's'.repeat(40) }, true],
  [
    'two Firebase projects',
    { JWKS_URL: FIREBASE, JWT_AUDIENCE: 'one' },
    { JWKS_URL: FIREBASE, JWT_AUDIENCE: 'two' },
    false,
  ],
  [
    'one Firebase project',
    { JWKS_URL: FIREBASE, JWT_AUDIENCE: 'one' },
    { JWKS_URL: FIREBASE, JWT_AUDIENCE: 'one' },
    true,
  ],
  [
    'one Auth0 domain',
    { JWKS_URL: 'https://me.eu.auth0.com/.well-known/jwks.json', JWT_AUDIENCE: 'api' },
    { JWKS_URL: 'https://me.eu.auth0.com/.well-known/jwks.json', JWT_AUDIENCE: 'api' },
    true,
  ],
  [
    'two Clerk instances',
    { JWKS_URL: 'https://a.clerk.accounts.dev/.well-known/jwks.json', JWT_AUDIENCE: 'api' },
    { JWKS_URL: 'https://b.clerk.accounts.dev/.well-known/jwks.json', JWT_AUDIENCE: 'api' },
    false,
  ],
])('%s', (_, a, b, expected) => {
  expect([share(a, b), share(b, a), share(a, b, 'org')]).toEqual([expected, expected, false])
})

test.each([
  'http://127.0.0.1/keys',
  'https://127.0.0.1/keys',
  'https://[::1]/keys',
  'https://169.254.169.254/latest',
  'https://8.8.8.8/keys',
  'https://0x7f000001/keys',
  'https://localhost/keys',
  'https://a.localhost./keys',
  'https://id.example:8443/keys',
  'https://id.example:22/keys',
])('a key set of a tenant at %s is refused', (url) => {
  const settings = { JWKS_URL: url, JWT_AUDIENCE: 'a', JWKS_REJECT_IP_RANGES: 'local' }
  expect(() => identitiesOf(settings)).toThrow(expect.objectContaining({ code: 'PSYNC_S2203' }))
})

test('what opens /admin is of no use at a tenant, and the other way', () => {
  const operators: TokenSettings = { OPERATOR_KEYS: jwk(base64url), OPERATOR_AUDIENCE: 'operators' }
  const conflict = (message: string) =>
    expect.objectContaining({ code: 'ROCKPOOL_TENANT_CONFLICT', message: expect.stringContaining(message) })
  const other = Buffer.alloc(32, 8).toString('base64url')
  expect(() => refuseOperators(identitiesOf({ JWT_SECRET: base64url, JWT_AUDIENCE: 'a' }), operators)).toThrow(
    conflict('OPERATOR_KEYS'),
  )
  expect(() => refuseOperators(identitiesOf({ JWT_SECRET: other, JWT_AUDIENCE: 'a,operators' }), operators)).toThrow(
    conflict('OPERATOR_AUDIENCE'),
  )
  refuseOperators(identitiesOf({ JWT_SECRET: other, JWT_AUDIENCE: 'a' }), operators)
  refuseOperators(identitiesOf({ JWT_SECRET: other, JWT_AUDIENCE: 'operators' }), {})
})
