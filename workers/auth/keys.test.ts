import { afterEach, beforeEach, expect, test } from 'vitest'
import { startKeyServer, type KeyServer } from '../../test/support/key-server.ts'
import { signer } from '../../test/support/signers.ts'
import type { TokenSettings } from '../../tenants/tokens.ts'
import { tokenRules } from './keys.ts'
import { verifyToken } from './token.ts'

let server: KeyServer
beforeEach(async () => void (server = await startKeyServer()))
afterEach(() => server.close())

const verified = async (tenant: string, settings: TokenSettings, token: string) =>
  (await verifyToken(token, tokenRules({ JWKS_URL: server.url, ...settings }, { tenant, part: 1 / 4 }))).user

test('two tenants in turn fetch their key set once each: 100 requests, 2 fetches', async () => {
  const [a, b] = [await signer('ES256', 'rockpool:a', 'k1'), await signer('ES256', 'rockpool:b', 'k2')]
  server.publish(a.jwk, b.jwk)
  const tokens = { a: await a.sign({ sub: 'alice' }), b: await b.sign({ sub: 'bob' }) }
  for (let n = 0; n < 50; n++) {
    expect(await verified('a', { JWT_AUDIENCE: 'rockpool:a' }, tokens.a)).toBe('alice')
    expect(await verified('b', { JWT_AUDIENCE: 'rockpool:b' }, tokens.b)).toBe('bob')
  }
  expect(server.requests).toBe(2)
})

test('1,500 tenants, more than there are rules kept, with one key set and policy: one fetch', async () => {
  const by = await signer('ES256', 'app', 'k1')
  server.publish(by.jwk)
  for (let n = 0; n < 1_500; n++) {
    const mustSay = { claim: 'org', value: `t${n}` }
    const settings = { JWT_AUDIENCE: 'app', JWKS_URL: server.url, mustSay }
    tokenRules(settings, { tenant: `t${n}`, part: 1 / 4 })
    if (n % 300 === 0)
      expect(await verified(`t${n}`, { JWT_AUDIENCE: 'app', mustSay }, await by.sign({ sub: 'a', org: `t${n}` }))).toBe(
        'a',
      )
  }
  expect(server.requests).toBe(1)
})

test('a tenant that changes its rules again and again fetches its key set once', async () => {
  const by = await signer('ES256', 'app', 'k1')
  server.publish(by.jwk)
  const token = await by.sign({ sub: 'a' })
  for (let seconds = 0; seconds < 300; seconds++)
    expect(await verified('a', { JWT_AUDIENCE: 'app', JWT_CLOCK_TOLERANCE: String(seconds) }, token)).toBe('a')
  expect(server.requests).toBe(1)
})
