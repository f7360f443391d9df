import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { RockpoolError } from '../../protocol/errors.ts'
import { startKeyServer, type KeyServer } from '../../test/support/key-server.ts'
import { secretSigner, signer, type Signer } from '../../test/support/signers.ts'
import { TokenRules } from './keys.ts'
import { RemoteKeys } from './remote.ts'
import { authSettings } from './settings.ts'
import type { TokenSettings } from '../../tenants/tokens.ts'
import { verifyToken } from './token.ts'

const MINUTE = 60_000
const ed25519 = `{"kty":"OKP","crv":"Ed25519","x":"${'A'.repeat(43)}"}`
let server: KeyServer
let now: number
/** Fetches that were begun and are to be kept alive. */
let background: Promise<unknown>[]
const extra: KeyServer[] = []

beforeEach(async () => {
  server = await startKeyServer()
  now = 1_000_000
  background = []
})

afterEach(async () => {
  for (const each of [server, ...extra.splice(0)]) await each.close().catch(() => {})
})

function rulesOf(settings: TokenSettings = {}, fetchTimeoutMs = 10_000): TokenRules {
  const options = { now: () => now, fetchTimeoutMs, unknownKeyWaitMs: fetchTimeoutMs }
  return new TokenRules(
    authSettings({ JWT_AUDIENCE: 'app', JWKS_URL: server.url, ...settings }),
    ({ url, policy }) => new RemoteKeys(url, policy, options),
  )
}

async function outcome(rules: TokenRules, by: Signer, header: Record<string, unknown> = {}): Promise<string> {
  try {
    await verifyToken(await by.sign({ sub: 'a' }, header), rules, { background: (work) => void background.push(work) })
    return 'ok'
  } catch (error) {
    if (!(error instanceof RockpoolError)) throw error
    return `${error.code}${error.code === 'PSYNC_S2204' ? ` ${error.message.replace(/^.*keys\.json /, '')}` : ''}`
  }
}

describe('a key set that is fetched', () => {
  test('one fetch serves everybody who comes meanwhile and afterwards', async () => {
    const key = await signer('RS256', 'app', 'k1')
    server.publish(key.jwk)
    const rules = rulesOf()
    expect(await Promise.all(Array.from({ length: 20 }, () => outcome(rules, key)))).toEqual(Array(20).fill('ok'))
    now += 5 * MINUTE - 1
    expect(await outcome(rules, key)).toBe('ok')
    expect(server.requests).toBe(1)
  })

  test('a new key is found at once; invented key ids fetch no more than once per cooldown', async () => {
    const [old, next] = await Promise.all([signer('ES256', 'app', 'old'), signer('ES256', 'app', 'new')])
    server.publish(old.jwk)
    const rules = rulesOf()
    expect(await outcome(rules, old)).toBe('ok')
    server.publish(old.jwk, next.jwk)
    // Within the cooldown of the first fetch it is not known yet.
    expect(await outcome(rules, next)).toBe('PSYNC_S2101')
    expect(server.requests).toBe(1)
    now += 6_000
    expect(await outcome(rules, next)).toBe('ok')
    expect(server.requests).toBe(2)
    for (let i = 0; i < 50; i++) expect(await outcome(rules, next, { kid: `invented ${i}` })).toBe('PSYNC_S2101')
    expect(server.requests).toBe(2)
    now += 6_000
    await Promise.all(Array.from({ length: 50 }, (_, i) => outcome(rules, next, { kid: `invented ${i}` })))
    expect(server.requests).toBe(3)
    // A key that is no longer listed is forgotten with the next fetch.
    server.publish(next.jwk)
    now += 6_000
    expect(await outcome(rules, next, { kid: 'invented' })).toBe('PSYNC_S2101')
    expect(await outcome(rules, old)).toBe('PSYNC_S2101')
  })

  test('another key under the same kid is found at once; tokens with wrong signatures fetch no more than once per cooldown', async () => {
    const [old, next, forged] = await Promise.all(['k1', 'k1', 'k1'].map((kid) => signer('ES256', 'app', kid)))
    if (!old || !next || !forged) throw new Error('no signers')
    server.publish(old.jwk)
    const rules = rulesOf()
    expect(await outcome(rules, old)).toBe('ok')
    now += 6_000
    server.publish(next.jwk)
    expect(await outcome(rules, next)).toBe('ok')
    expect([await outcome(rules, old), await outcome(rules, next)]).toEqual(['PSYNC_S2102', 'ok'])
    expect(server.requests).toBe(2)
    now += 6_000
    for (let i = 0; i < 50; i++) expect(await outcome(rules, forged)).toBe('PSYNC_S2102')
    expect(server.requests).toBe(3)
    // A key of the settings is not replaced by a set.
    const own = rulesOf({ JWT_KEYS: JSON.stringify({ keys: [old.jwk] }) })
    expect(await outcome(own, forged)).toBe('PSYNC_S2102')
    expect(server.requests).toBe(3)
  })

  test('keys are fetched again in the background, serve while the provider is down, and are forgotten after an hour', async () => {
    const key = await signer('EdDSA', 'app', 'k1')
    server.publish(key.jwk)
    const rules = rulesOf()
    expect(await outcome(rules, key)).toBe('ok')
    now += 5 * MINUTE
    expect(await outcome(rules, key)).toBe('ok')
    await Promise.all(background)
    expect(server.requests).toBe(2)
    server.answer = (response) => response.writeHead(500).end('broken')
    for (let i = 0; i < 11; i++) {
      now += 5 * MINUTE
      expect(await outcome(rules, key)).toBe('ok')
      await Promise.all(background)
    }
    expect(server.requests).toBe(13)
    now += 5 * MINUTE
    expect(await outcome(rules, key)).toBe('PSYNC_S2204 answered with status 500')
    // Nobody is asked again and again because clients come again and again.
    for (let i = 0; i < 20; i++) await outcome(rules, key)
    expect(server.requests).toBe(14)
    server.publish(key.jwk)
    now += 6_000
    expect(await outcome(rules, key)).toBe('ok')
  })

  const broken: [string, (server: KeyServer) => void, string][] = [
    ['garbage', (s) => (s.answer = (response) => response.end('<html>')), 'is not JSON'],
    [
      'something else',
      (s) => (s.answer = (response) => response.end('{"keys":{}}')),
      'is not a JSON Web Key Set: it has no list "keys"',
    ],
    [
      'a list without end',
      (s) => (s.answer = (response) => response.end(`{"keys":[${Array(101).fill(ed25519).join()}]}`)),
      'has more than 100 keys',
    ],
    [
      'too much',
      (s) => (s.answer = (response) => response.end(`{"keys":[],"x":"${'x'.repeat(600_000)}"}`)),
      'is larger than 524288 bytes',
    ],
    ['without end', (s) => (s.answer = endless), 'is larger than 524288 bytes'],
    [
      'a redirect',
      (s) => (s.answer = (r) => r.writeHead(302, { location: '/other' }).end()),
      'answered with status 302',
    ],
    ['a cut connection', (s) => (s.answer = (response) => response.destroy()), 'cannot be reached'],
  ]
  test.each(['{"keys":[]}', '{"keys":[{"kty":"x"},7,null]}'])('%s has no key, which is no fault', async (text) => {
    server.answer = (response) => response.end(text)
    expect(await outcome(rulesOf(), await signer('ES256', 'app', 'k1'))).toBe('PSYNC_S2101')
  })

  test.each(broken)('%s', async (_, breakIt, said) => {
    breakIt(server)
    expect(await outcome(rulesOf(), await signer('ES256', 'app', 'k1'))).toBe(`PSYNC_S2204 ${said}`)
    expect(server.requests).toBe(1)
  })

  test('a provider that does not answer ends in an error; whoever comes meanwhile waits for the same request', async () => {
    server.answer = () => {}
    const rules = rulesOf({}, 200)
    const key = await signer('ES256', 'app', 'k1')
    const answers = await Promise.all([outcome(rules, key), outcome(rules, key)])
    expect(answers).toEqual(Array(2).fill('PSYNC_S2204 did not answer in time'))
    expect(server.requests).toBe(1)
  })

  test('one that is down does not matter when the key is elsewhere', async () => {
    const other = await startKeyServer()
    extra.push(other)
    const key = await signer('ES256', 'app', 'k1')
    other.publish(key.jwk)
    await server.close()
    const rules = rulesOf({ JWKS_URL: `${server.url}, ${other.url}` })
    expect(await outcome(rules, key)).toBe('ok')
    expect(await outcome(rules, await signer('ES256', 'app', 'k2'))).toBe('PSYNC_S2204 cannot be reached')
    // A key of the settings needs no fetch at all.
    const own = await signer('ES256', 'app', 'own')
    const before = other.requests
    const rules2 = rulesOf({ JWKS_URL: other.url, JWT_KEYS: JSON.stringify({ keys: [own.jwk] }) })
    expect(await outcome(rules2, own)).toBe('ok')
    expect(other.requests).toBe(before)
  })

  test('secrets are never taken from it, nor is it asked for tokens that are signed with one', async () => {
    const secret = secretSigner('HS256', new Uint8Array(32).fill(7), 'app', 'k1')
    server.publish(secret.jwk, (await signer('ES256', 'app', 'k2')).jwk)
    const rules = rulesOf()
    for (let i = 0; i < 5; i++) expect(await outcome(rules, secret)).toBe('PSYNC_S2101')
    expect(server.requests).toBe(0)
  })

  test('keys for other purposes are passed over', async () => {
    const key = await signer('RS256', 'app')
    const named = { ...key.jwk, kid: 'k1' }
    server.publish(
      { ...named, use: 'enc' },
      { ...named, key_ops: ['sign'] },
      { ...named, alg: 'RSA-OAEP' },
      { ...named, use: 'sig', alg: 'RS256' },
    )
    expect(await outcome(rulesOf(), key, { kid: 'k1' })).toBe('ok')
  })
})

/** Sends until the other side has had enough. */
function endless(response: {
  write(text: string): boolean
  on(event: 'close' | 'error', done: () => void): unknown
}): void {
  let open = true
  response.on('close', () => (open = false))
  response.on('error', () => (open = false))
  const more = (): void => {
    if (!open) return
    response.write(' '.repeat(64 * 1024))
    setImmediate(more)
  }
  more()
}
