import { createExecutionContext, env, waitOnExecutionContext } from 'cloudflare:test'
import { beforeEach, describe, expect, test } from 'vitest'
import type { Environment } from '../durable-objects/environment.ts'
import { RockpoolError } from '../protocol/errors.ts'
import { MESSAGE_VERSION } from '../protocol/versions.ts'
import { secretSigner } from '../test/support/signers.ts'
import { app } from './app.ts'

// The file is long because the routes are tested over one deployment in the runtime.

const secret = crypto.getRandomValues(new Uint8Array(32))
const signer = secretSigner('HS256', secret, 'app')

/** What was asked of objects. */
let touched: string[] = []
let fails: unknown = null
let told: object
beforeEach(() => {
  told = fullStatus
  touched = []
  fails = null
})

/** Some of what a replicator tells. */
const fullStatus = {
  tenant: 'default',
  state: 'live',
  checkpoint: 7,
  plan: 'abc',
  lsn: '0/16B3748',
  lagBytes: 12,
  lastCommit: null,
  comparing: { since: '2026-11-01T00:00:00.000Z', fraction: 0.25, held: 9 },
  slot: { name: 'rockpool' },
  refusedTables: [{ table: 'public.salaries', reason: 'no key' }],
  failingBuckets: [],
  skippedRows: {},
  error: { code: 'ROCKPOOL_SOURCE_UNREACHABLE', message: 'db.internal:5432 does not answer' },
}

/** In the place of an object: notes what is called, and answers. */
const stub = (binding: string, name: unknown) => ({
  get: (_: object, method: string | symbol) => async (message: unknown) => {
    touched.push(`${binding} ${String(name)} ${String(method)} ${JSON.stringify(message)}`)
    if (fails) throw fails
    if (method === 'writeCheckpoint') return { writeCheckpoint: '7' }
    if (method === 'checkpointRequest') return { id: '9' }
    if (method === 'status') return told
    if (method === 'configs') return { history: [] }
    if (method === 'withdraw') return { history: [] }
    return {}
  },
})

/** A namespace whose objects are not reached: every use of it is noted. */
function watched<T extends object>(binding: string, namespace: T): T {
  return new Proxy(namespace, {
    get: () => (name: unknown) => {
      touched.push(`${binding} ${String(name)}`)
      return new Proxy({}, stub(binding, name))
    },
  })
}

function environment(settings: Partial<Environment> = {}): Environment {
  return {
    REPLICATOR: watched('REPLICATOR', env.REPLICATOR),
    BUCKET: watched('BUCKET', env.BUCKET),
    RELAY: watched('RELAY', env.RELAY),
    JWT_SECRET: Buffer.from(secret).toString('base64url'),
    JWT_AUDIENCE: 'app',
    LOCATION: 'weur',
    ...settings,
  }
}

async function ask(
  path: string,
  init: RequestInit = {},
  bindings = environment(),
): Promise<{ response: Response; text: string }> {
  const context = createExecutionContext()
  const response = await app.fetch(new Request(`https://sync.example${path}`, init), bindings, context)
  const text = await response.text()
  await waitOnExecutionContext(context)
  return { response, text }
}

const deep = (levels: number) => `${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`
const good = async () => `Token ${await signer.sign({ sub: 'alice' })}`
const post = async (body: BodyInit, headers: Record<string, string> = {}): Promise<RequestInit> => ({
  method: 'POST',
  body,
  headers: { authorization: await good(), 'content-type': 'application/json', ...headers },
})

function expectError({ response, text }: { response: Response; text: string }, status: number, code: string): void {
  const { error } = JSON.parse(text)
  expect([response.status, error.status, error.code, error.name]).toEqual([status, status, code, 'RockpoolError'])
  expect(error.description.length).toBeGreaterThan(10)
  expect(response.headers.get('access-control-allow-origin')).toBe('*')
  expect(response.headers.get('access-control-expose-headers')).toBe('Content-Type')
  expect(response.headers.get('content-type')).toBe('application/json')
  expect(response.headers.get('cache-control')).toBe('no-store')
}

describe('the token and the request are judged before any object is named', () => {
  test('an endpoint that ends in a slash is one as well, for SDKs that put another one behind it', async () => {
    const init = { headers: { authorization: await good() } }
    expect((await ask('//write-checkpoint2.json?client_id=c', init)).response.status).toBe(200)
    expectError(await ask('//status', init), 404, 'PSYNC_S2002')
  })

  test('a request that is in order reaches the replicator of its tenant, and only that', async () => {
    const answer = await ask('/write-checkpoint2.json?client_id=c', { headers: { authorization: await good() } })
    expect([answer.response.status, answer.text]).toEqual([200, '{"data":{"write_checkpoint":"7"}}'])
    expect(answer.response.headers.get('content-type')).toBe('application/json')
    // A number from a cache would let a client go on before what it wrote has come (I5).
    expect(answer.response.headers.get('cache-control')).toBe('no-store')
    expect(touched).toEqual([
      'REPLICATOR default',
      expect.stringContaining(
        `REPLICATOR default writeCheckpoint {"v":${MESSAGE_VERSION},"user":"alice","clientId":"c","token":{`,
      ),
    ])
    const without = await ask('/write-checkpoint2.json', { headers: { authorization: await good() } })
    expect(without.response.status).toBe(200)
    expect(touched.at(-1)).toContain('"clientId":""')
    const chosen = await ask('/sync/checkpoint-request', await post('{"client_id":"c","checkpoint_request_id":"007"}'))
    expect([chosen.response.status, chosen.text]).toEqual([200, '{"data":{"checkpoint_request_id":"9"}}'])
    expect(touched.at(-1)).toContain(
      `REPLICATOR default checkpointRequest {"v":${MESSAGE_VERSION},"user":"alice","clientId":"c","id":"7","token":{`,
    )
  })

  const paths: [string, string, BodyInit | undefined][] = [
    ['POST', '/sync/stream', '{}'],
    ['GET', '/write-checkpoint2.json?client_id=c', undefined],
    ['POST', '/sync/checkpoint-request', '{"client_id":"c","checkpoint_request_id":1}'],
    ['GET', '/status', undefined],
  ]
  test.each(paths)('%s %s: a bad token names none', async (method, path, body) => {
    const now = Math.floor(Date.now() / 1_000)
    const other = secretSigner('HS256', crypto.getRandomValues(new Uint8Array(32)), 'app')
    for (const [authorization, code] of [
      [null, 'PSYNC_S2106'],
      ['Basic x', 'PSYNC_S2106'],
      ['Token x', 'PSYNC_S2101'],
      [`Token ${'x'.repeat(60_000)}`, 'PSYNC_S2101'],
      [`Token ${await other.sign({ sub: 'a' })}`, 'PSYNC_S2102'],
      [`Token ${await signer.sign({ sub: 'a', iat: now - 200, exp: now - 100 })}`, 'PSYNC_S2103'],
      [`Token ${await signer.sign({ sub: 'a', exp: now + 90_000 })}`, 'PSYNC_S2104'],
      [`Bearer ${await signer.sign({ sub: 'a', aud: 'x' })}`, 'PSYNC_S2105'],
    ] as const) {
      const headers: Record<string, string> = {
        'content-type': 'application/json',
        ...(authorization === null ? {} : { authorization }),
      }
      expectError(await ask(path, { method, headers, ...(body === undefined ? {} : { body }) }), 401, code)
    }
    const token = {
      headers: { authorization: await good(), 'content-type': 'application/json' },
      method,
      ...(body === undefined ? {} : { body }),
    }
    expectError(await ask(path, token, environment({ JWT_AUDIENCE: '' })), 401, 'PSYNC_S2201')
    expect(touched).toEqual([])
  })

  const bodies: [string, BodyInit, Record<string, string>, number, string][] = [
    ['not JSON', '{', {}, 400, 'PSYNC_S2001'],
    ['nothing', '', {}, 400, 'PSYNC_S2001'],
    ['a list', '[]', {}, 400, 'PSYNC_S2001'],
    ['null', 'null', {}, 400, 'PSYNC_S2001'],
    ['text', '"x"', {}, 400, 'PSYNC_S2001'],
    ['bytes that are not UTF-8', new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), {}, 400, 'PSYNC_S2001'],
    ['nested deeply', `{"parameters":${deep(101)}}`, {}, 400, 'PSYNC_S2001'],
    ['nested as deeply as a body may be long', '['.repeat(500_000) + ']'.repeat(500_000), {}, 400, 'PSYNC_S2001'],
    ['deep in a field that means nothing', `{"x":${deep(200_000)}}`, {}, 400, 'PSYNC_S2001'],
    ['too large', `{"x":"${'x'.repeat(1024 * 1024)}"}`, {}, 400, 'PSYNC_S2001'],
    ['of too many values', `{"x":[${'0,'.repeat(100_000)}0]}`, {}, 400, 'PSYNC_S2001'],
    ['an op id beyond 64 bits', '{"buckets":[{"name":"a","after":"9223372036854775808"}]}', {}, 400, 'PSYNC_S2001'],
    ['an op id of 19 nines', '{"buckets":[{"name":"a","after":"9999999999999999999"}]}', {}, 400, 'PSYNC_S2001'],
    ['a negative op id', '{"buckets":[{"name":"a","after":"-1"}]}', {}, 400, 'PSYNC_S2001'],
    ['an op id that is none', '{"buckets":[{"name":"a","after":"1e3"}]}', {}, 400, 'PSYNC_S2001'],
    ['an op id as a number', '{"buckets":[{"name":"a","after":1}]}', {}, 400, 'PSYNC_S2001'],
    ['a bucket name that is none', '{"buckets":[{"name":null,"after":"1"}]}', {}, 400, 'PSYNC_S2001'],
    ['a client id without end', JSON.stringify({ client_id: 'x'.repeat(129) }), {}, 400, 'PSYNC_S2001'],
    ['a client id of other characters', '{"client_id":"蛺徘嚂黧귂油"}', {}, 400, 'PSYNC_S2001'],
    ['parameters that are a list', '{"parameters":[]}', {}, 400, 'PSYNC_S2001'],
    ['another content type', '{}', { 'content-type': 'text/plain' }, 415, 'PSYNC_S2004'],
    ['a form', 'a=b', { 'content-type': 'application/x-www-form-urlencoded' }, 415, 'PSYNC_S2004'],
    ['a longer content type', '{}', { 'content-type': 'application/jsonp' }, 415, 'PSYNC_S2004'],
    ['a compressed body', '{}', { 'content-encoding': 'gzip' }, 415, 'PSYNC_S2004'],
  ]
  test.each(bodies)('a body that is %s', async (_, body, headers, status, code) => {
    for (const path of ['/sync/stream', '/sync/checkpoint-request'])
      expectError(await ask(path, await post(body, headers)), status, code)
    expect(touched).toEqual([])
  })

  test('the path of each wrong field is told', async () => {
    const body =
      '{"buckets":[{"name":"a","after":"1"},{"name":1,"after":"x"}],"streams":{"subscriptions":[{"stream":1}]}}'
    const { text } = await ask('/sync/stream', await post(body))
    expect(JSON.parse(text).error.details.map((each: { path: string }) => each.path)).toEqual([
      'buckets[1].name',
      'buckets[1].after',
      'streams.subscriptions[0].stream',
    ])
  })

  test('a client id that is too long in the address, and an address that is odd', async () => {
    const headers = { authorization: await good() }
    expectError(await ask(`/write-checkpoint2.json?client_id=${'x'.repeat(20_000)}`, { headers }), 400, 'PSYNC_S2001')
    expectError(await ask(`/${'x'.repeat(20_000)}`, { headers }), 404, 'PSYNC_S2002')
    expectError(await ask('/%zz/%', { headers }), 404, 'PSYNC_S2002')
    expectError(await ask('/write-checkpoint2.json?client_id=%zz', { headers }), 400, 'PSYNC_S2001')
    expect(touched).toEqual([])
  })

  test('methods and paths that are not there', async () => {
    const headers = { authorization: await good() }
    for (const [method, path] of [
      ['GET', '/'],
      ['GET', '/sync'],
      ['POST', '/sync/stream/'],
      ['DELETE', '/status'],
      ['POST', '/write-checkpoint2.json'],
      ['GET', '/sync/checkpoint-request'],
      ['PUT', '/sync/stream'],
      ['GET', '/write-checkpoint.json'],
      ['GET', '/probes/other'],
      ['POST', '/api/admin/v1/diagnostics'],
    ] as const) {
      expectError(await ask(path, { method, headers }), 404, 'PSYNC_S2002')
    }
    expect((await ask('/status', { method: 'DELETE', headers })).text).toContain('there is GET')
    expect((await ask('/write-checkpoint2.json', { method: 'HEAD', headers })).response.status).toBe(404)
    expectError(await ask('/sync/stream', { headers }), 426, 'PSYNC_S2001')
    expect(touched).toEqual([])
  })

  test('probes need no token and no object; preflights neither', async () => {
    for (const probe of ['startup', 'liveness', 'readiness']) {
      const { response, text } = await ask(`/probes/${probe}`)
      expect([response.status, JSON.parse(text)]).toEqual([200, { data: { started: true, ready: true } }])
      expect((await ask(`/probes/${probe}`, { method: 'HEAD' })).response.status).toBe(200)
    }
    for (const path of ['/sync/stream', '/write-checkpoint2.json', '/sync/checkpoint-request', '/nowhere']) {
      const headers = {
        origin: 'https://app.example',
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization',
      }
      const { response } = await ask(path, { method: 'OPTIONS', headers })
      expect(response.status).toBe(204)
      const allowed = ['origin', 'methods', 'headers'].map((name) =>
        response.headers.get(`access-control-allow-${name}`),
      )
      expect(allowed).toEqual(['*', 'GET,POST', 'Content-Type,Authorization,User-Agent,X-User-Agent'])
      expect(response.headers.get('access-control-max-age')).toBe('3600')
      expect(response.headers.get('access-control-allow-credentials')).toBeNull()
    }
    expect(touched).toEqual([])
  })
})

describe('the native WebSocket', () => {
  async function talk(...frames: (string | ArrayBuffer)[]): Promise<{ code: number; error: string }> {
    const request = new Request('https://sync.example/sync/stream', { headers: { upgrade: 'websocket' } })
    const { webSocket } = await app.fetch(request, environment(), createExecutionContext())
    if (!webSocket) throw new Error('there is no socket')
    webSocket.accept()
    let error = ''
    webSocket.addEventListener('message', ({ data }) => void (error = JSON.parse(String(data)).error.code))
    const closed = new Promise<number>((resolve) => webSocket.addEventListener('close', ({ code }) => resolve(code)))
    for (const frame of frames) webSocket.send(frame)
    return { code: await closed, error }
  }

  const cases: [string, () => Promise<string | ArrayBuffer>, number, string][] = [
    ['no JSON', async () => 'x', 4400, 'ROCKPOOL_CLIENT_FRAME'],
    ['another frame', async () => '{"credit":5}', 4400, 'ROCKPOOL_CLIENT_FRAME'],
    ['a bad token', async () => '{"open":{},"token":"x"}', 4401, 'PSYNC_S2101'],
    ['no token', async () => '{"open":{}}', 4400, 'ROCKPOOL_CLIENT_FRAME'],
    [
      'a bad request',
      async () => JSON.stringify({ open: { buckets: {} }, token: await signer.sign({ sub: 'a' }) }),
      4400,
      'PSYNC_S2001',
    ],
    [
      'a deep request',
      async () => `{"open":{"parameters":${deep(200)}},"token":"${await signer.sign({ sub: 'a' })}"}`,
      4400,
      'PSYNC_S2001',
    ],
    ['a wrong request of a stranger', async () => '{"open":{"buckets":{}},"token":"x"}', 4401, 'PSYNC_S2101'],
    ['no JSON behind a bad token', async () => '{"token":"x","open":{{', 4401, 'PSYNC_S2101'],
  ]
  test.each(cases)('%s as the first frame names no object', async (_, frame, code, error) => {
    expect(await talk(await frame(), await frame())).toEqual({ code, error })
    expect(touched).toEqual([])
  })

  test('with a token and a request that are in order it goes to a relay', async () => {
    const over = talk(JSON.stringify({ open: {}, token: await signer.sign({ sub: 'a' }) }), '{"token":"x"}')
    expect(await over).toEqual({ code: 4401, error: 'PSYNC_S2101' })
    expect(touched[0]).toMatch(/^RELAY default\//)
  })
})

describe('faults of objects', () => {
  const asked = async () => ask('/write-checkpoint2.json?client_id=c', { headers: { authorization: await good() } })
  const carried = (error: RockpoolError) =>
    Object.assign(new Error(`RockpoolError: ${error.message}`), {
      code: error.code,
      status: error.status,
      remote: true,
    })

  test('an error of ours keeps its code over RPC, which takes its class away', async () => {
    fails = carried(new RockpoolError('PSYNC_S2001', 'this client has used up its numbers'))
    const answer = await asked()
    expectError(answer, 400, 'PSYNC_S2001')
    expect(JSON.parse(answer.text).error.description).toBe('this client has used up its numbers')
  })

  test.each([
    'ROCKPOOL_WRITE_CHECKPOINT',
    'ROCKPOOL_SOURCE_UNREACHABLE',
    'ROCKPOOL_SLOT_TAKEN',
    'ROCKPOOL_SOURCE_SETTINGS',
  ] as const)('%s: a user learns that the database does not answer, and an operator what it says', async (code) => {
    fails = carried(
      new RockpoolError(code, 'password authentication failed for user "app" at db.internal:5432, pid 77'),
    )
    const answer = await asked()
    expect(JSON.parse(answer.text).error).toMatchObject({ code, description: 'the database does not answer' })
    const headers = { authorization: `Token ${await signer.sign({ sub: 'ops', operator: true })}` }
    expect((await ask('/admin/sync-config', { headers })).text).toContain('pid 77')
  })

  test.each(['retryable', 'overloaded', 'durableObjectReset'])('what the platform marks %s is a 503', async (mark) => {
    fails = Object.assign(new Error('internal error; reference = abc'), { [mark]: true })
    const answer = await asked()
    expectError(answer, 503, 'PSYNC_S2003')
    expect(answer.text).not.toContain('abc')
  })

  test('anything else is a 500 that tells nothing', async () => {
    fails = new Error('password=hunter2')
    const answer = await asked()
    expectError(answer, 500, 'ROCKPOOL_INTERNAL')
    expect(answer.text).not.toContain('hunter2')
  })
})

describe('/status', () => {
  const current = { state: 'live', checkpoint: 7, plan: 'abc', lagBytes: 12 }
  test('users learn how current it is, and nothing about the database', async () => {
    const { response, text } = await ask('/status', { headers: { authorization: await good() } })
    expect([response.status, JSON.parse(text)]).toEqual([200, { data: { ...current, comparing: { fraction: 0.25 } } }])
  })

  test('users learn that nothing is compared', async () => {
    told = { ...fullStatus, comparing: null }
    const { text } = await ask('/status', { headers: { authorization: await good() } })
    expect(JSON.parse(text)).toEqual({ data: { ...current, comparing: null } })
  })

  test('operators learn everything', async () => {
    const { text } = await ask('/status', {
      headers: { authorization: `Token ${await signer.sign({ sub: 'ops', operator: true })}` },
    })
    expect(JSON.parse(text).data).toMatchObject(fullStatus)
  })

  test('/admin/status looks at the source before it answers, for operators alone', async () => {
    const asked = async (path: string, claims: Record<string, unknown>) => {
      touched = []
      const { response, text } = await ask(path, {
        headers: { authorization: `Token ${await signer.sign({ sub: 'ops', ...claims })}` },
      })
      return [response.status, JSON.parse(text).error?.code ?? JSON.parse(text).data.lsn, touched]
    }
    const call = (look: string) => `REPLICATOR default status {"v":${MESSAGE_VERSION}${look}}`
    const found = [call(',"look":true')]
    expect(await asked('/admin/status', { operator: true })).toEqual([
      200,
      fullStatus.lsn,
      expect.arrayContaining(found),
    ])
    expect(await asked('/status', { operator: true })).toEqual([
      200,
      fullStatus.lsn,
      expect.arrayContaining([call('')]),
    ])
    expect(await asked('/admin/status', {})).toEqual([403, 'ROCKPOOL_OPERATOR', []])
  })

  test('operators learn where objects are made, or that it is chance; a place that is not known is refused by name', async () => {
    const status = async (settings: Partial<Environment>) => {
      const headers = { authorization: `Token ${await signer.sign({ sub: 'ops', operator: true })}` }
      const { text } = await ask('/status', { headers }, environment(settings))
      return JSON.parse(text)
    }
    const nowhere = await status({ LOCATION: '' })
    expect(nowhere.data.placement).toEqual({ location: null, jurisdiction: null })
    expect(nowhere.data.notes).toContainEqual(expect.stringMatching(/^LOCATION is not set: chance/))
    const placed = await status({ LOCATION: 'weur' })
    expect(placed.data.placement).toEqual({ location: 'weur', jurisdiction: null })
    expect(placed.data.notes.join()).not.toContain('LOCATION')
    // On one's own machine there is one place, and nothing to set.
    expect((await status({ LOCATION: '', LOCAL_EDGE: 'true' })).data.notes).toEqual([])
    touched = []
    expect((await status({ LOCATION: 'mars' })).error).toMatchObject({
      code: 'ROCKPOOL_SETTINGS',
      description: expect.stringContaining('LOCATION: must be one of wnam'),
    })
    expect(touched).toEqual([])
  })
})

test('no answer is taken for something that it is not, and /admin is for no page of another origin', async () => {
  const operator = {
    authorization: `Token ${await signer.sign({ sub: 'ops', operator: true })}`,
    origin: 'https://app.example',
  }
  for (const path of ['/status', '/nowhere', '/probes/liveness', '/admin/sync-config', '/admin/nowhere', '/buckets']) {
    const { response } = await ask(path, { headers: operator })
    expect([path, response.headers.get('x-content-type-options')]).toEqual([path, 'nosniff'])
    const allowed = response.headers.get('access-control-allow-origin')
    expect([path, allowed]).toEqual([path, path.startsWith('/admin') ? null : '*'])
  }
  const preflight = {
    origin: 'https://app.example',
    'access-control-request-method': 'PUT',
    'access-control-request-headers': 'authorization',
  }
  const { response } = await ask('/admin/sync-config', { method: 'OPTIONS', headers: preflight })
  expect([response.ok, response.headers.get('access-control-allow-origin')]).toEqual([false, null])
})

describe('operators', () => {
  const operatorSecret = crypto.getRandomValues(new Uint8Array(32))
  const TYPE = 'rockpool-operator+jwt'
  const operators = secretSigner('HS256', operatorSecret, 'app-operators')
  const own = {
    OPERATOR_KEYS: JSON.stringify({ keys: [{ kty: 'oct', k: Buffer.from(operatorSecret).toString('base64url') }] }),
    OPERATOR_AUDIENCE: 'app-operators',
  }
  /** What commands send, and no page of another origin. */
  const OURS = { 'x-rockpool-admin': '1', 'content-type': 'application/json' }
  const admin = async (token: string, settings: Partial<Environment>, path = '/admin/sync-config', method = 'GET') => {
    const { response, text } = await ask(
      path,
      { method, headers: { authorization: `Token ${token}`, ...OURS } },
      environment(settings),
    )
    const body = JSON.parse(text)
    return [response.status, body.error?.code ?? 'ok']
  }

  test('with keys of their own nobody else is one, whatever he claims', async () => {
    expect(await admin(await operators.sign({ sub: 'ann' }, { typ: TYPE }), own)).toEqual([200, 'ok'])
    touched = []
    expect(await admin(await signer.sign({ sub: 'eve', operator: true }), own)).toEqual([403, 'ROCKPOOL_OPERATOR'])
    expect(await admin(await operators.sign({ sub: 'ann' }), own)).toEqual([403, 'ROCKPOOL_OPERATOR'])
    expect(await admin(await signer.sign({ sub: 'eve', operator: true }, { typ: TYPE }), own)).toEqual([
      401,
      'PSYNC_S2102',
    ])
    expect(await admin(await operators.sign({ sub: 'ann', aud: 'app' }, { typ: TYPE }), own)).toEqual([
      401,
      'PSYNC_S2105',
    ])
    expect(touched).toEqual([])
    const plain = await ask(
      '/status',
      { headers: { authorization: `Token ${await signer.sign({ sub: 'eve', operator: true })}` } },
      environment(own),
    )
    expect(Object.keys(JSON.parse(plain.text).data)).toEqual(['state', 'checkpoint', 'plan', 'lagBytes', 'comparing'])
    const full = await ask(
      '/status',
      { headers: { authorization: `Token ${await operators.sign({ sub: 'ann' }, { typ: TYPE })}` } },
      environment(own),
    )
    expect(JSON.parse(full.text).data).toMatchObject({ ...fullStatus, notes: [] })
  })

  test('an operator is no user', async () => {
    for (const path of ['/write-checkpoint2.json?client_id=c', '/buckets']) {
      expect(await admin(await operators.sign({ sub: 'ann' }, { typ: TYPE }), own, path)).toEqual([401, 'PSYNC_S2101'])
      expect(await admin(await signer.sign({ sub: 'ann' }, { typ: TYPE }), {}, path)).toEqual([401, 'PSYNC_S2101'])
    }
    expect(touched).toEqual([])
  })

  test('settings that would let users be operators are refused', async () => {
    const token = await operators.sign({ sub: 'ann' }, { typ: TYPE })
    for (const wrong of [{ OPERATOR_AUDIENCE: '' }, { OPERATOR_AUDIENCE: 'other, app' }, { OPERATOR_KEYS: '{}' }]) {
      expect(await admin(token, { ...own, ...wrong })).toEqual([401, 'PSYNC_S2201'])
    }
  })

  test('without keys of their own the claim still counts, and the end of that is told', async () => {
    const token = await signer.sign({ sub: 'ops', operator: true })
    expect(await admin(token, {})).toEqual([200, 'ok'])
    const { text } = await ask('/status', { headers: { authorization: `Token ${token}` } })
    expect(JSON.parse(text).data.notes).toEqual([expect.stringMatching(/after 2027-03-01 .*OPERATOR_KEYS/)])
    expect(await admin(await signer.sign({ sub: 'ops', operator: 'true' }), {})).toEqual([403, 'ROCKPOOL_OPERATOR'])
  })

  test('a request that a foreign page may have sent changes nothing, whoever is an operator there', async () => {
    const token = await operators.sign({ sub: 'ann' }, { typ: TYPE })
    const sent = async (path: string, method: string, headers: Record<string, string>) =>
      (await ask(path, { method, headers: { authorization: `Token ${token}`, ...headers } }, environment(own))).response
        .status
    const changes: [string, string][] = [
      ['/admin/sync-config', 'PUT'],
      ['/admin/sync-config/12/withdraw', 'POST'],
      ['/admin/rollback', 'POST'],
      ['/admin/verify', 'POST'],
      ['/admin/verify', 'DELETE'],
    ]
    const FOREIGN: Record<string, string>[] = [
      { origin: 'https://evil.example' },
      { 'sec-fetch-site': 'same-site' },
      { 'x-rockpool-admin': '' },
    ]
    touched = []
    for (const [path, method] of changes) {
      expect([path, await sent(path, method, {})]).toEqual([path, 403])
      expect([path, await sent(path, method, { ...OURS, 'content-type': 'text/plain' })]).toEqual([path, 415])
      for (const foreign of FOREIGN)
        expect([path, await sent(path, method, { ...OURS, ...foreign })]).toEqual([path, 403])
    }
    expect(touched).toEqual([])
    const { response } = await ask(
      '/admin/sync-config',
      { headers: { authorization: `Token ${token}` } },
      environment(own),
    )
    expect(response.headers.get('cross-origin-resource-policy')).toBe('same-origin')
  })

  test('who did it goes along', async () => {
    const token = await operators.sign({ sub: 'ann' }, { typ: TYPE })
    const headers = { authorization: `Token ${token}`, ...OURS }
    await ask('/admin/sync-config/12/withdraw', { method: 'POST', headers }, environment(own))
    expect(touched.at(-1)).toBe(`REPLICATOR default withdraw {"v":${MESSAGE_VERSION},"number":12,"by":"ann"}`)
    await ask('/admin/rollback?to=12', { method: 'POST', headers }, environment(own))
    expect(touched.at(-1)).toBe(
      `REPLICATOR default rollback {"v":${MESSAGE_VERSION},"dryRun":false,"by":"ann","to":12}`,
    )
    for (const to of ['0', 'x', '', '1e3'])
      expect(await admin(token, own, `/admin/rollback?to=${to}`, 'POST')).toEqual([400, 'PSYNC_S2001'])
    for (const number of ['0', 'x', '-1', '1e3'])
      expect(await admin(token, own, `/admin/sync-config/${number}/withdraw`, 'POST')).toEqual([404, 'PSYNC_S2002'])
  })
})
