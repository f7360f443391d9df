import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { exportSPKI, importJWK, SignJWT, UnsecuredJWT, type JWK } from 'jose'
import { describe, expect, test } from 'vitest'
import { RockpoolError } from '../../protocol/errors.ts'
import { secretSigner, signer, type Signer } from '../../test/support/signers.ts'
import { TokenRules } from './keys.ts'
import { authSettings, operatorSettings } from './settings.ts'
import type { TokenSettings } from '../../tenants/tokens.ts'
import { sameAuthorization, tokenOfHeader, verifyToken } from './token.ts'

// The file is long because the cases are tables of tokens, one for each algorithm and claim.

const AUDIENCE = 'app'
const secret = randomBytes(32)
const shared = secretSigner('HS256', secret, AUDIENCE)

const rulesOf = (settings: TokenSettings) => new TokenRules(authSettings({ JWT_AUDIENCE: AUDIENCE, ...settings }))
const keySet = (...signers: (Signer | JWK)[]) =>
  rulesOf({ JWT_KEYS: JSON.stringify({ keys: signers.map((s) => ('jwk' in s ? s.jwk : s)) }) })
const withSecret = rulesOf({ JWT_SECRET: secret.toString('base64url') })

/** `ok`, or the code; the message must not contain the token. */
async function outcome(rules: TokenRules, token: string): Promise<string> {
  try {
    await verifyToken(token, rules)
    return 'ok'
  } catch (error) {
    if (!(error instanceof RockpoolError)) throw error
    for (const part of token.split('.')) if (part.length > 10) expect(error.message).not.toContain(part)
    expect(error.message.length).toBeGreaterThan(20)
    return error.code
  }
}

async function message(rules: TokenRules, token: string): Promise<string> {
  return verifyToken(token, rules).then(
    () => 'ok',
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  )
}

describe('algorithms', () => {
  const asymmetric = ['RS256', 'RS384', 'RS512', 'ES256', 'ES384', 'ES512', 'EdDSA']
  test.each(asymmetric)('%s, with kid and without', async (algorithm) => {
    const named = await signer(algorithm, AUDIENCE, 'k1')
    const nameless = await signer(algorithm, AUDIENCE)
    const rules = keySet(named, nameless)
    expect(await outcome(rules, await named.sign({ sub: 'a' }))).toBe('ok')
    expect(await outcome(rules, await nameless.sign({ sub: 'a' }))).toBe('ok')
    // The key without kid takes over for a kid that no key has, as rotations leave it.
    expect(await outcome(rules, await nameless.sign({ sub: 'a' }, { kid: 'unheard of' }))).toBe('ok')
  })

  test.each(['HS256', 'HS384', 'HS512'])('%s', async (algorithm) => {
    expect(await outcome(withSecret, await secretSigner(algorithm, secret, AUDIENCE).sign({ sub: 'a' }))).toBe('ok')
    const named = secretSigner(algorithm, randomBytes(64), AUDIENCE, 'k1')
    expect(await outcome(keySet(named), await named.sign({ sub: 'a' }))).toBe('ok')
  })

  test('what is not on the list is refused, whatever key there is', async () => {
    const rsa = await signer('PS256', AUDIENCE)
    expect(await message(keySet(await signer('RS256', AUDIENCE)), await rsa.sign({ sub: 'a' }))).toContain('"PS256"')
    const none = new UnsecuredJWT({ sub: 'a' }).setAudience(AUDIENCE).setIssuedAt().setExpirationTime('1h').encode()
    expect(await outcome(withSecret, none)).toBe('PSYNC_S2101')
    expect(await message(withSecret, none)).toContain('"none"')
    const cased = none.replace(/^[^.]+/, Buffer.from('{"alg":"nOnE"}').toString('base64url'))
    expect(await outcome(withSecret, cased)).toBe('PSYNC_S2101')
  })

  test('a public key is no secret: HMAC with its text or its bytes verifies nothing', async () => {
    const rsa = await signer('RS256', AUDIENCE, 'k1')
    const nameless = await signer('RS256', AUDIENCE)
    const rules = keySet(rsa, nameless)
    const publicKey = await importJWK(rsa.jwk, 'RS256', { extractable: true })
    if (publicKey instanceof Uint8Array) throw new Error('not asymmetric')
    for (const bytes of [
      new TextEncoder().encode(await exportSPKI(publicKey)),
      new TextEncoder().encode(JSON.stringify(rsa.jwk)),
      new Uint8Array(Buffer.from(rsa.jwk.n ?? '', 'base64url')),
    ]) {
      const forged = secretSigner('HS256', bytes, AUDIENCE)
      expect(await outcome(rules, await forged.sign({ sub: 'a' }))).toBe('PSYNC_S2101')
      expect(await outcome(rules, await forged.sign({ sub: 'a' }, { kid: 'k1' }))).toBe('PSYNC_S2101')
    }
  })

  test('a key that names its algorithm takes no other of its family', async () => {
    const key = await signer('RS256', AUDIENCE, 'k1')
    const rules = keySet({ ...key.jwk, alg: 'RS512' })
    expect(await message(rules, await key.sign({ sub: 'a' }))).toContain('accepts RS512')
    const bound = secretSigner('HS512', secret, AUDIENCE)
    expect(await outcome(keySet({ ...bound.jwk, alg: 'HS256' }), await bound.sign({ sub: 'a' }))).toBe('PSYNC_S2101')
  })
})

describe('the choice of the key', () => {
  test('a key with exactly the kid is the only one that is tried', async () => {
    const named = await signer('ES256', AUDIENCE, 'k1')
    const nameless = await signer('ES256', AUDIENCE)
    const rules = keySet(named, nameless)
    expect(await outcome(rules, await nameless.sign({ sub: 'a' }, { kid: 'k1' }))).toBe('PSYNC_S2102')
    // Also when that key is of another type.
    const hs = secretSigner('HS256', secret, AUDIENCE)
    expect(await outcome(keySet(named, hs), await hs.sign({ sub: 'a' }, { kid: 'k1' }))).toBe('PSYNC_S2101')
  })

  test('keys with a kid are not for tokens without one', async () => {
    const named = await signer('ES256', AUDIENCE, 'k1')
    expect(await message(keySet(named), await named.sign({ sub: 'a' }, { kid: undefined }))).toContain('has no "kid"')
    expect(await outcome(keySet(named), await named.sign({ sub: 'a' }, { kid: 'k2' }))).toBe('PSYNC_S2101')
  })

  test('of several keys without kid the one that signed it is found; `*` is no kid', async () => {
    const [a, b, c] = await Promise.all([
      signer('EdDSA', AUDIENCE),
      signer('EdDSA', AUDIENCE),
      signer('EdDSA', AUDIENCE),
    ])
    const rules = keySet(a, { ...b.jwk, kid: '*' })
    expect(await outcome(rules, await a.sign({ sub: 'a' }))).toBe('ok')
    expect(await outcome(rules, await b.sign({ sub: 'a' }))).toBe('ok')
    expect(await outcome(rules, await b.sign({ sub: 'a' }, { kid: 'any' }))).toBe('ok')
    expect(await outcome(rules, await c.sign({ sub: 'a' }))).toBe('PSYNC_S2102')
    expect(await outcome(rules, await c.sign({ sub: 'a' }, { kid: 'any' }))).toBe('PSYNC_S2101')
  })

  test('a secret and a key set serve side by side', async () => {
    const rs = await signer('RS256', AUDIENCE, 'k1')
    const rules = rulesOf({ JWT_SECRET: secret.toString('base64url'), JWT_KEYS: JSON.stringify({ keys: [rs.jwk] }) })
    expect(await outcome(rules, await shared.sign({ sub: 'a' }))).toBe('ok')
    expect(await outcome(rules, await rs.sign({ sub: 'a' }))).toBe('ok')
  })
})

describe('claims', () => {
  const now = Math.floor(Date.now() / 1_000)
  const cases: [string, Record<string, unknown>, string][] = [
    ['no sub', {}, 'PSYNC_S2101'],
    ['an empty sub', { sub: '' }, 'PSYNC_S2101'],
    ['a null sub', { sub: null }, 'PSYNC_S2101'],
    ['a sub that loses digits', { sub: 2 ** 53 }, 'PSYNC_S2101'],
    ['another claim that loses digits', { sub: 'a', account: 2 ** 53 }, 'PSYNC_S2101'],
    ['a claim inside of another that loses digits', { sub: 'a', app: { teams: [1, -(2 ** 60)] } }, 'PSYNC_S2101'],
    ['claims of all digits', { sub: 'a', account: 2 ** 53 - 1, share: 0.1, text: '9007199254740993' }, 'ok'],
    ['a sub without end', { sub: 'x'.repeat(2_000) }, 'PSYNC_S2101'],
    ['no iat', { sub: 'a', iat: undefined }, 'PSYNC_S2101'],
    ['an iat that is text', { sub: 'a', iat: String(now) }, 'PSYNC_S2101'],
    ['an iat in the future', { sub: 'a', iat: now + 300, exp: now + 600 }, 'PSYNC_S2101'],
    ['no exp', { sub: 'a', exp: undefined }, 'PSYNC_S2101'],
    ['an exp that is text', { sub: 'a', exp: String(now + 60) }, 'PSYNC_S2101'],
    ['an iat in milliseconds', { sub: 'a', iat: now * 1_000, exp: now * 1_000 + 600 }, 'PSYNC_S2101'],
    ['a long life', { sub: 'a', iat: now, exp: now + 86_401 }, 'PSYNC_S2104'],
    ['a day', { sub: 'a', iat: now, exp: now + 86_400 }, 'ok'],
    ['expired', { sub: 'a', iat: now - 600, exp: now - 90 }, 'PSYNC_S2103'],
    ['expired within the tolerance', { sub: 'a', iat: now - 600, exp: now - 30 }, 'ok'],
    ['not valid yet', { sub: 'a', nbf: now + 300 }, 'PSYNC_S2101'],
    ['nearly valid', { sub: 'a', nbf: now + 30 }, 'ok'],
    ['no aud', { sub: 'a', aud: undefined }, 'PSYNC_S2105'],
    ['another aud', { sub: 'a', aud: 'other' }, 'PSYNC_S2105'],
    ['several, one of them right', { sub: 'a', aud: ['other', AUDIENCE] }, 'ok'],
    ['several, none of them right', { sub: 'a', aud: ['other', 'another'] }, 'PSYNC_S2105'],
    ['an aud that is a number', { sub: 'a', aud: 7 }, 'PSYNC_S2105'],
    ['parameters', { sub: 'a', parameters: { a: 1 } }, 'ok'],
    ['parameters that are a list', { sub: 'a', parameters: [] }, 'PSYNC_S2101'],
    ['parameters that are null', { sub: 'a', parameters: null }, 'PSYNC_S2101'],
  ]
  test.each(cases)('%s', async (_, claims, code) => {
    expect(await outcome(withSecret, await shared.sign(claims))).toBe(code)
  })

  test('the user is the text of `sub`; claims stay as they are', async () => {
    for (const [sub, user] of [
      ['a', 'a'],
      [42, '42'],
      [1.5, '1.5'],
      [true, '1'],
      [false, '0'],
      [['x'], '["x"]'],
      [{ a: 1 }, '{"a":1}'],
    ] as const) {
      const caller = await verifyToken(await shared.sign({ sub, role: 'r' }), withSecret)
      expect(caller.user).toBe(user)
      expect(caller.claims).toMatchObject({ sub, role: 'r' })
    }
  })

  test('messages say what was expected', async () => {
    expect(await message(withSecret, await shared.sign({ sub: 'a', aud: 'other' }))).toBe(
      'the claim "aud" is "other"; expected is app',
    )
    expect(await message(withSecret, await shared.sign({ sub: 'a', exp: now + 90_000 }))).toMatch(
      /at most 86400 are allowed/,
    )
    expect(await message(withSecret, await shared.sign({}))).toBe('the claim "sub" is missing')
  })

  test('lifetime and tolerance are settings', async () => {
    const rules = rulesOf({
      JWT_SECRET: secret.toString('base64url'),
      JWT_MAX_LIFETIME: '10m',
      JWT_CLOCK_TOLERANCE: '0',
    })
    expect(await outcome(rules, await shared.sign({ sub: 'a', exp: now + 1_200 }))).toBe('PSYNC_S2104')
    expect(await outcome(rules, await shared.sign({ sub: 'a', iat: now - 100, exp: now - 10 }))).toBe('PSYNC_S2103')
  })
})

describe('the form of a token', () => {
  test.each([
    ['no JWT', 'abc'],
    ['empty parts', '..'],
    ['a header that is not base64url', '%%.e30.x'],
    ['a header that is not JSON', `${Buffer.from('{').toString('base64url')}.e30.x`],
    ['five parts', 'a.b.c.d.e'],
    ['much too long', `${'a'.repeat(40_000)}.b.c`],
    ['a kid that is a number', `${Buffer.from('{"alg":"HS256","kid":1}').toString('base64url')}.e30.x`],
    ['no alg', `${Buffer.from('{}').toString('base64url')}.e30.x`],
  ])('%s', async (_, token) => {
    expect(await outcome(withSecret, token)).toBe('PSYNC_S2101')
  })

  test('a payload that is not JSON, or no object, signed properly', async () => {
    for (const payload of ['{', '[]', '"a"']) {
      const jws = await new SignJWT({}).setProtectedHeader({ alg: 'HS256' }).sign(secret)
      const { CompactSign } = await import('jose')
      const odd = await new CompactSign(new TextEncoder().encode(payload))
        .setProtectedHeader({ alg: 'HS256' })
        .sign(secret)
      expect(await outcome(withSecret, odd)).toBe('PSYNC_S2101')
      // A changed payload under the signature of another.
      expect(await outcome(withSecret, [jws.split('.')[0], odd.split('.')[1], jws.split('.')[2]].join('.'))).toBe(
        'PSYNC_S2102',
      )
    }
  })

  test('an unknown critical header', async () => {
    const token = await shared.sign({ sub: 'a' }, { crit: ['x'], x: 1 }).catch(() => null)
    // jose refuses to make one, so its header is made by hand.
    const [, payload, signature] = (token ?? (await shared.sign({ sub: 'a' }))).split('.')
    const header = Buffer.from('{"alg":"HS256","crit":["x"],"x":1}').toString('base64url')
    expect(await outcome(withSecret, `${header}.${payload}.${signature}`)).toBe('PSYNC_S2101')
  })

  test.each([
    [undefined, null],
    ['', null],
    ['token abc', null],
    ['Token  abc', null],
    ['Token abc def', null],
    ['Token abc ', null],
    ['Basic abc', null],
    ['Token abc', 'abc'],
    ['Bearer abc', 'abc'],
  ])('the header %j', (header, token) => {
    if (token === null)
      expect(() => tokenOfHeader(header)).toThrow(expect.objectContaining({ code: 'PSYNC_S2106', status: 401 }))
    else expect(tokenOfHeader(header)).toBe(token)
  })
})

describe('settings', () => {
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const rsa1024 = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ format: 'jwk' })
  const publicKey = ec.publicKey.export({ format: 'jwk' })
  const keys = (...list: unknown[]) => JSON.stringify({ keys: list })
  const good = { JWT_AUDIENCE: 'a', JWT_SECRET: 'a'.repeat(44) }

  const refused: [string, TokenSettings, RegExp][] = [
    ['nothing', {}, /JWT_SECRET is not set/],
    ['no audience', { JWT_SECRET: good.JWT_SECRET }, /JWT_AUDIENCE/],
    ['a secret that is not base64url', { ...good, JWT_SECRET: 'not base64url!' }, /JWT_SECRET is not base64url/],
    ['a short secret', { ...good, JWT_SECRET: 'c2hvcnQ' }, /JWT_SECRET has 5 bytes/],
    ['keys that are not JSON', { ...good, JWT_KEYS: '{' }, /JWT_KEYS is not a JSON Web Key Set/],
    ['keys that are no set', { ...good, JWT_KEYS: '[]' }, /JWT_KEYS/],
    [
      'a private key',
      { ...good, JWT_KEYS: keys(publicKey, ec.privateKey.export({ format: 'jwk' })) },
      /keys\[1\] is a private key/,
    ],
    ['a weak RSA key', { ...good, JWT_KEYS: keys(rsa1024) }, /2048/],
    ['another algorithm', { ...good, JWT_KEYS: keys({ ...publicKey, alg: 'ES512' }) }, /"alg" is none of ES256/],
    ['a key for encryption', { ...good, JWT_KEYS: keys({ ...publicKey, use: 'enc' }) }, /"use"/],
    ['another operation', { ...good, JWT_KEYS: keys({ ...publicKey, key_ops: ['sign'] }) }, /"key_ops"/],
    ['an unknown curve', { ...good, JWT_KEYS: keys({ ...publicKey, crv: 'secp256k1' }) }, /"crv"/],
    ['a short secret in a set', { ...good, JWT_KEYS: keys({ kty: 'oct', k: 'c2hvcnQ' }) }, /at least 32/],
    ['no URL', { ...good, JWKS_URL: 'keys' }, /JWKS_URL: "keys" is not a URL/],
    ['a URL without TLS', { ...good, JWKS_URL: 'http://id.example/keys' }, /https/],
    ['a URL with a password', { ...good, JWKS_URL: 'https://a:b@id.example/keys' }, /password/],
    ['no ranges', { ...good, JWKS_REJECT_IP_RANGES: '10.0.0.0/99' }, /JWKS_REJECT_IP_RANGES: "10.0.0.0\/99"/],
    ['no lifetime', { ...good, JWT_MAX_LIFETIME: 'long' }, /JWT_MAX_LIFETIME/],
    ['no tolerance', { ...good, JWT_CLOCK_TOLERANCE: '-1' }, /JWT_CLOCK_TOLERANCE/],
    ['a tolerance beyond reason', { ...good, JWT_CLOCK_TOLERANCE: '3600' }, /JWT_CLOCK_TOLERANCE/],
    ['a short secret of Supabase', { SUPABASE_JWT_SECRET: 'short' }, /SUPABASE_JWT_SECRET/],
    ['no address of Supabase', { SUPABASE_URL: 'abcd' }, /SUPABASE_URL/],
  ]
  test.each(refused)('%s', (_, settings, said) => {
    expect(() => authSettings(settings)).toThrow(
      expect.objectContaining({ code: 'PSYNC_S2201', message: expect.stringMatching(said) }),
    )
    const secrets = [settings.JWT_SECRET, settings.SUPABASE_JWT_SECRET].filter((each) => each !== undefined)
    for (const value of secrets) expect(() => authSettings(settings)).not.toThrow(value)
  })

  test.each([
    ['https://10.1.2.3/keys', '10.0.0.0/8'],
    ['https://[fd00::1]/keys', 'fd00::/8'],
    ['https://[::ffff:10.1.2.3]/keys', 'local'],
    ['https://0x7f.1/keys', 'local'],
    ['http://localhost:8080/keys', 'local'],
    ['https://169.254.169.254/keys', 'local'],
  ])('%s is rejected by %s', (url, ranges) => {
    const settings = { ...good, JWKS_URL: url, JWKS_REJECT_IP_RANGES: ranges }
    expect(() => authSettings(settings)).toThrow(expect.objectContaining({ code: 'PSYNC_S2203' }))
    expect(authSettings({ ...settings, JWKS_REJECT_IP_RANGES: '203.0.113.0/24' }).remote).toHaveLength(1)
  })

  test('numbers and tables of [vars] are taken as they are meant', () => {
    const settings = authSettings({
      ...good,
      JWT_CLOCK_TOLERANCE: 5,
      JWT_MAX_LIFETIME: 600,
      JWT_KEYS: { keys: [publicKey] },
    })
    expect(settings.toleranceSeconds).toBe(5)
    expect(settings.keys.map((key) => key.policy.maxLifetimeSeconds)).toEqual([600, 600])
  })

  test('Supabase: its audience, its longer lifetime, the text as secret; your own tokens keep their rules', async () => {
    const text = 'super-secret-jwt-token-with-at-least-32-characters-long'
    const rules = rulesOf({ JWT_SECRET: secret.toString('base64url'), SUPABASE_JWT_SECRET: text })
    const supabase = secretSigner('HS256', new TextEncoder().encode(text), 'authenticated')
    const now = Math.floor(Date.now() / 1_000)
    expect(
      await outcome(rules, await supabase.sign({ sub: 'a', iat: now, exp: now + 604_800 + 1_200 }, { kid: 'legacy' })),
    ).toBe('ok')
    expect(await outcome(rules, await supabase.sign({ sub: 'a', iat: now, exp: now + 604_800 + 1_201 }))).toBe(
      'PSYNC_S2104',
    )
    expect(await outcome(rules, await supabase.sign({ sub: 'a', aud: 'anon' }))).toBe('PSYNC_S2105')
    expect(await outcome(rules, await supabase.sign({ sub: 'a', aud: AUDIENCE }))).toBe('PSYNC_S2105')
    expect(await outcome(rules, await shared.sign({ sub: 'a', aud: 'authenticated' }))).toBe('PSYNC_S2105')
    expect(await outcome(rules, await shared.sign({ sub: 'a', iat: now, exp: now + 86_401 }))).toBe('PSYNC_S2104')
    const { remote } = authSettings({ SUPABASE_URL: 'https://abcd.supabase.co/' })
    expect(remote.map(({ url, policy }) => [url.href, policy.audiences])).toEqual([
      ['https://abcd.supabase.co/auth/v1/.well-known/jwks.json', ['authenticated']],
    ])
  })
})

test('the same authorization: all claims but those that differ in every token', async () => {
  const caller = async (claims: Record<string, unknown>) =>
    verifyToken(await shared.sign({ sub: 'a', ...claims }), withSecret)
  expect(
    sameAuthorization(await caller({ jti: '1' }), await caller({ jti: '2', exp: Math.floor(Date.now() / 1_000) + 60 })),
  ).toBe(true)
  expect(sameAuthorization(await caller({ role: 'x' }), await caller({ role: 'y' }))).toBe(false)
})

describe('what a token is for', () => {
  test.each<[unknown, string]>([
    [undefined, 'ok'],
    ['JWT', 'ok'],
    ['at+jwt', 'ok'],
    ['application/at+jwt', 'ok'],
    ['rockpool-operator+jwt', 'PSYNC_S2101'],
    ['application/Rockpool-Operator+JWT', 'PSYNC_S2101'],
    ['logout+jwt', 'PSYNC_S2101'],
    ['dpop+jwt', 'PSYNC_S2101'],
    [7, 'PSYNC_S2101'],
  ])('a user with the "typ" %s', async (typ, code) => {
    expect(await outcome(withSecret, await shared.sign({ sub: 'a' }, typ === undefined ? {} : { typ }))).toBe(code)
  })

  test('an operator, by keys and an audience of their own', async () => {
    const operators = secretSigner('HS256', randomBytes(32), 'ops')
    const settings = operatorSettings({
      JWT_AUDIENCE: AUDIENCE,
      OPERATOR_KEYS: { keys: [operators.jwk] },
      OPERATOR_AUDIENCE: 'ops',
    })
    if (!settings) throw new Error('there are no settings')
    const rules = new TokenRules(settings)
    expect(await outcome(rules, await operators.sign({ sub: 'a' }, { typ: 'rockpool-operator+jwt' }))).toBe('ok')
    expect(await outcome(rules, await operators.sign({ sub: 'a' }, { typ: 'JWT' }))).toBe('ROCKPOOL_OPERATOR')
    expect(operatorSettings({ JWT_AUDIENCE: AUDIENCE })).toBeNull()
  })
})

describe('who issues a token', () => {
  const issued = async (rules: TokenRules, iss?: string) => outcome(rules, await shared.sign({ sub: 'a', iss }))

  test('JWT_ISSUER is compared when it is set', async () => {
    expect(await issued(withSecret, 'https://anybody')).toBe('ok')
    const rules = rulesOf({
      JWT_SECRET: secret.toString('base64url'),
      JWT_ISSUER: 'https://a.example, https://b.example',
    })
    expect(await issued(rules, 'https://a.example')).toBe('ok')
    expect(await issued(rules, 'https://b.example')).toBe('ok')
    expect(await issued(rules, 'https://c.example')).toBe('PSYNC_S2101')
    expect(await issued(rules)).toBe('PSYNC_S2101')
    expect(await message(rules, await shared.sign({ sub: 'a', iss: 'https://c.example' }))).toMatch(
      /"iss" is "https:\/\/c\.example"; expected is https:\/\/a/,
    )
  })

  test('it follows from the address where the form of the provider is known, for each key set by itself', () => {
    const issuers = (settings: TokenSettings) =>
      authSettings({ JWT_AUDIENCE: AUDIENCE, ...settings }).remote.map(({ policy }) => policy.issuers)
    const google = 'https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com'
    expect(issuers({ JWKS_URL: google, JWT_AUDIENCE: 'my-project' })).toEqual([
      ['https://securetoken.google.com/my-project'],
    ])
    const several = [
      'https://t.eu.auth0.com/.well-known/jwks.json',
      'https://x.clerk.accounts.dev/.well-known/jwks.json',
      'https://my.example/keys',
    ]
    expect(issuers({ JWKS_URL: several.join() })).toEqual([
      ['https://t.eu.auth0.com/'],
      ['https://x.clerk.accounts.dev'],
      null,
    ])
    expect(issuers({ JWKS_URL: several.join(), JWT_ISSUER: 'me' })).toEqual([
      ['https://t.eu.auth0.com/', 'me'],
      ['https://x.clerk.accounts.dev', 'me'],
      ['me'],
    ])
    expect(issuers({ SUPABASE_URL: 'https://p.supabase.co/' })).toEqual([['https://p.supabase.co/auth/v1']])
    expect(issuers({ SUPABASE_URL: 'http://127.0.0.1:54321' })).toEqual([['http://127.0.0.1:54321/auth/v1']])
  })

  test('the secret of a Supabase project whose address is known is for its tokens alone', async () => {
    const text = randomBytes(40).toString('base64')
    const old = secretSigner('HS256', new TextEncoder().encode(text), 'authenticated')
    const rules = rulesOf({ SUPABASE_JWT_SECRET: text, SUPABASE_URL: 'https://p.supabase.co' })
    expect(await outcome(rules, await old.sign({ sub: 'a', iss: 'https://p.supabase.co/auth/v1' }))).toBe('ok')
    expect(await outcome(rules, await old.sign({ sub: 'a', iss: 'https://q.supabase.co/auth/v1' }))).toBe('PSYNC_S2101')
    expect(await outcome(rulesOf({ SUPABASE_JWT_SECRET: text }), await old.sign({ sub: 'a' }))).toBe('ok')
  })
})
