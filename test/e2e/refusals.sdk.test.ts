import { SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startEdge, type Edge } from '../support/edge.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support/support.ts'

const secret = newSecret()
const key = Buffer.from(secret, 'base64url')
let edge: Edge
let directory: Awaited<ReturnType<typeof temporaryDirectory>>

beforeAll(async () => {
  directory = await temporaryDirectory()
  const syncConfig = 'bucket_definitions:\n  all:\n    data:\n      - SELECT id FROM lists WHERE\n'
  // Nothing listens there: what is refused is refused before the database matters.
  const databaseUrl = 'postgres://nobody:secret@127.0.0.1:1/none'
  edge = await startEdge({
    databaseUrl,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    syncConfig,
    directory: directory.path,
  })
})

afterAll(async () => {
  await edge?.dispose()
  await directory?.remove()
})

async function stream(headers: Record<string, string>, body: string): Promise<[number, string]> {
  const response = await fetch(`${edge.url}/sync/stream`, { method: 'POST', headers, body })
  const { error }: { error: { code: string } } = await response.json()
  return [response.status, error.code]
}

const json = { 'content-type': 'application/json' }
const authorized = async () => ({ ...json, authorization: `Token ${await token(secret, 'alice')}` })

function signed(
  claims: Record<string, unknown>,
  seconds = 3_600,
  audience: string | null = AUDIENCE,
  by: Uint8Array = key,
): Promise<string> {
  const jwt = new SignJWT(claims)
    .setProtectedHeader({ alg: 'HS256' })
    .setIssuedAt()
    .setExpirationTime(Math.floor(Date.now() / 1000) + seconds)
  return (audience === null ? jwt : jwt.setAudience(audience)).sign(by)
}

describe('bad tokens', () => {
  const cases: [string, () => Promise<string | null>, string][] = [
    ['no token', async () => null, 'PSYNC_S2106'],
    ['another form of header', async () => 'Basic abc', 'PSYNC_S2106'],
    ['not a JWT', async () => 'Token abc', 'PSYNC_S2101'],
    ['no subject', async () => `Token ${await signed({})}`, 'PSYNC_S2101'],
    [
      'signed by somebody else',
      async () => `Token ${await signed({ sub: 'a' }, 60, AUDIENCE, Buffer.alloc(32, 1))}`,
      'PSYNC_S2102',
    ],
    ['expired', async () => `Token ${await signed({ sub: 'a' }, -120)}`, 'PSYNC_S2103'],
    ['lives too long', async () => `Token ${await signed({ sub: 'a' }, 90_000)}`, 'PSYNC_S2104'],
    ['for another audience', async () => `Token ${await signed({ sub: 'a' }, 60, 'other')}`, 'PSYNC_S2105'],
    ['for no audience', async () => `Token ${await signed({ sub: 'a' }, 60, null)}`, 'PSYNC_S2105'],
  ]
  test.each(cases)('%s', async (_, header, code) => {
    const authorization = await header()
    expect(await stream(authorization === null ? json : { ...json, authorization }, '{}')).toEqual([401, code])
  })

  test('without a token no object is touched', async () => {
    expect((await fetch(`${edge.url}/status`)).status).toBe(401)
    expect((await fetch(`${edge.url}/write-checkpoint2.json?client_id=a`)).status).toBe(401)
    expect(await edge.objectTables('Bucket')).toEqual([])
    expect(await edge.objectTables('Relay')).toEqual([])
  })
})

describe('bad bodies and paths', () => {
  test.each([
    ['not JSON', '{', 400, 'PSYNC_S2001'],
    ['a number for an op id', '{"buckets":[{"name":"a","after":1}]}', 400, 'PSYNC_S2001'],
    ['no array', '{"buckets":{}}', 400, 'PSYNC_S2001'],
    ['a client id that is too long', JSON.stringify({ client_id: 'x'.repeat(300) }), 400, 'PSYNC_S2001'],
    [
      'a priority that is none',
      '{"streams":{"subscriptions":[{"stream":"a","parameters":null,"override_priority":9}]}}',
      400,
      'PSYNC_S2001',
    ],
  ])('%s', async (_, body, status, code) => {
    expect(await stream(await authorized(), body)).toEqual([status, code])
  })

  test('another content type', async () => {
    expect(await stream({ ...(await authorized()), 'content-type': 'text/plain' }, '{}')).toEqual([415, 'PSYNC_S2004'])
  })

  test('an unknown path, and a method that a path does not have', async () => {
    for (const [method, path, status, code] of [
      ['GET', '/nowhere', 404, 'PSYNC_S2002'],
      ['DELETE', '/status', 404, 'PSYNC_S2002'],
      ['GET', '/sync/stream', 426, 'PSYNC_S2001'],
    ] as const) {
      const response = await fetch(`${edge.url}${path}`, { method })
      const { error }: { error: { code: string; description: string } } = await response.json()
      expect([path, response.status, error.code]).toEqual([path, status, code])
      expect(error.description.length).toBeGreaterThan(10)
    }
  })

  test('every answer may be read by a page of another origin', async () => {
    for (const [path, init, status] of [
      ['/sync/stream', { method: 'POST', headers: json, body: '{}' }, 401],
      ['/sync/stream', { method: 'POST', headers: await authorized(), body: '{' }, 400],
      ['/nowhere', {}, 404],
      ['/probes/liveness', {}, 200],
      ['/status', { headers: await authorized() }, 200],
    ] as const) {
      const response = await fetch(`${edge.url}${path}`, init)
      expect([path, response.status]).toEqual([path, status])
      expect(response.headers.get('access-control-allow-origin')).toBe('*')
      expect(response.headers.get('access-control-expose-headers')).toBe('Content-Type')
    }
    const preflight = await fetch(`${edge.url}/sync/stream`, {
      method: 'OPTIONS',
      headers: {
        origin: 'https://app.example',
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization,x-user-agent',
      },
    })
    expect(preflight.status).toBe(204)
    expect(preflight.headers.get('access-control-allow-headers')?.toLowerCase()).toContain('x-user-agent')
    const refused = await fetch(`${edge.url}/nowhere`, { headers: { origin: 'https://app.example' } })
    expect(refused.headers.get('access-control-allow-origin')).toBe('*')
  })

  test('input that is too long is refused and breaks nothing', async () => {
    const headers = await authorized()
    const read = async (path: string, init: RequestInit) => {
      const response = await fetch(`${edge.url}${path}`, init)
      const { error }: { error: { code: string } } = await response.json()
      return [response.status, error.code]
    }
    const long = 'x'.repeat(12_000)
    expect(await read(`/write-checkpoint2.json?client_id=${long}`, { headers })).toEqual([400, 'PSYNC_S2001'])
    expect(await read(`/${long}`, { headers })).toEqual([404, 'PSYNC_S2002'])
    expect(await read('/status', { headers: { authorization: `Token ${long}` } })).toEqual([401, 'PSYNC_S2101'])
    expect(await stream(headers, `{"parameters":${'['.repeat(1_000_000)}${']'.repeat(1_000_000)}}`)).toEqual([
      400,
      'PSYNC_S2001',
    ])
  })

  test('a database that is down is a 503 with a code for a request of a write checkpoint', async () => {
    const response = await fetch(`${edge.url}/write-checkpoint2.json?client_id=a`, { headers: await authorized() })
    const { error }: { error: { code: string; status: number; description: string } } = await response.json()
    expect([response.status, error.status, error.code]).toEqual([503, 503, 'ROCKPOOL_WRITE_CHECKPOINT'])
    expect(error.description).not.toContain('secret')
    expect(response.headers.get('access-control-allow-origin')).toBe('*')
  })

  test('the probes answer', async () => {
    for (const probe of ['startup', 'liveness', 'readiness'])
      expect((await fetch(`${edge.url}/probes/${probe}`)).status).toBe(200)
  })
})

describe('the native WebSocket', () => {
  /** Sends frames, answers the error frame and the close code. */
  function talk(...frames: string[]): Promise<{ code: number; error: string | undefined }> {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(`${edge.url.replace('http', 'ws')}/sync/stream`)
      let error: string | undefined
      socket.onopen = () => frames.forEach((frame) => socket.send(frame))
      socket.onmessage = ({ data }) => {
        const line: { error?: { code: string } } = JSON.parse(String(data))
        error = line.error?.code ?? error
      }
      socket.onclose = ({ code }) => resolve({ code, error })
      socket.onerror = () => reject(new Error('the socket failed'))
    })
  }
  const opening = async (sub = 'alice') => JSON.stringify({ open: {}, token: await token(secret, sub), credit: 1000 })

  test('a first frame that is not `open`', async () => {
    expect(await talk('hello')).toEqual({ code: 4400, error: 'ROCKPOOL_CLIENT_FRAME' })
    expect(await talk('{"credit":1}')).toEqual({ code: 4400, error: 'ROCKPOOL_CLIENT_FRAME' })
  })
  test('a bad token', async () => {
    expect(await talk('{"open":{},"token":"abc"}')).toEqual({ code: 4401, error: 'PSYNC_S2101' })
  })
  test('a bad request', async () => {
    const frame = JSON.stringify({ open: { buckets: 1 }, token: await token(secret, 'alice') })
    expect(await talk(frame)).toEqual({ code: 4400, error: 'PSYNC_S2001' })
  })
  test('a frame that means nothing', async () => {
    expect(await talk(await opening(), '{"what":1}')).toEqual({ code: 4400, error: 'ROCKPOOL_CLIENT_FRAME' })
  })
  test('a token of another user does not renew a stream', async () => {
    const socket = new WebSocket(`${edge.url.replace('http', 'ws')}/sync/stream`)
    const closed = new Promise<number>((resolve) => (socket.onclose = ({ code }) => resolve(code)))
    await new Promise((resolve) => (socket.onopen = resolve))
    socket.send(await opening('alice'))
    await new Promise((resolve) => setTimeout(resolve, 300))
    socket.send(JSON.stringify({ token: await token(secret, 'bob') }))
    expect(await closed).toBe(4401)
  })
})

test('a mistake in the sync config is reported with its place and stops nothing else', async () => {
  const status = async () => {
    const response = await fetch(`${edge.url}/status`, {
      headers: { authorization: `Token ${await token(secret, 'ops', 60, { operator: true })}` },
    })
    const { data }: { data: { state: string; error: { code: string; message: string } | null } } = await response.json()
    return data
  }
  const refused = await until('the status', async () => {
    const data = await status()
    return data.error === null ? undefined : data
  })
  expect(refused.state).toBe('refused')
  expect(refused.error?.code).toBe('ROCKPOOL_SYNC_CONFIG')
  expect(refused.error?.message).toMatch(/\b4:\d+ /)
  expect(JSON.stringify(refused)).not.toContain('secret')
})
