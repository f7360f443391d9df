import { createServer } from 'node:http'
import { SyncStreamConnectionMethod } from '@powersync/common'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openSync, SignedOut } from '../../client/src/node.ts'
import type { SyncLine } from '../../protocol/lines.ts'
import { startEdge, type Edge } from '../support/edge.ts'
import { startKeyServer, type KeyServer } from '../support/key-server.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { RawClient } from '../support/raw-stream.ts'
import { secretSigner, signer, type Signer } from '../support/signers.ts'
import { AUDIENCE, connector, newSecret, powersync, temporaryDirectory, until } from '../support/support.ts'

// The file is long because every way to sign tokens is tried on one deployment.

const COOLDOWN_MS = 6_000
const SUPABASE_SECRET = 'super-secret-jwt-token-with-at-least-32-characters-long'
const syncConfig = `
bucket_definitions:
  team:
    parameters: SELECT request.jwt() ->> 'team' AS team
    data:
      - SELECT id, name, owner_id FROM lists WHERE owner_id = bucket.team
`
const secret = newSecret()
const shared = secretSigner('HS256', Buffer.from(secret, 'base64url'), AUDIENCE)

let postgres: TestPostgres
let edge: Edge
let keys: KeyServer
let supabase: KeyServer
let own: Signer
let directory: Awaited<ReturnType<typeof temporaryDirectory>>

beforeAll(async () => {
  directory = await temporaryDirectory()
  keys = await startKeyServer()
  supabase = await startKeyServer()
  own = await signer('ES256', AUDIENCE, 'own')
  postgres = await startPostgres()
  const sql = postgres.sql()
  await sql`create table lists (id text primary key, name text, owner_id text)`
  await sql`insert into lists values ('1', 'of red', 'red'), ('2', 'of blue', 'blue')`
  edge = await startEdge({
    databaseUrl: postgres.url,
    jwtSecret: secret,
    jwtAudience: `other, ${AUDIENCE}`,
    syncConfig,
    directory: `${directory.path}/edge`,
    bindings: {
      JWT_KEYS: JSON.stringify({ keys: [own.jwk] }),
      JWKS_URL: keys.url,
      SUPABASE_URL: supabase.url.replace('/keys.json', ''),
      SUPABASE_JWT_SECRET: SUPABASE_SECRET,
    },
  })
})

afterAll(async () => {
  await edge?.dispose()
  await postgres?.stop()
  await keys?.close().catch(() => {})
  await supabase?.close()
  await directory?.remove()
})

/** `200`, or `401 CODE`. A request that touches no object: its body is not valid, which comes after the token. */
async function judged(token: string, signal?: AbortSignal): Promise<string> {
  const headers = { authorization: `Token ${token}`, 'content-type': 'application/json' }
  const response = await fetch(`${edge.url}/sync/stream`, {
    method: 'POST',
    headers,
    body: '{',
    ...(signal ? { signal } : {}),
  })
  const { error }: { error: { code: string; description: string } } = await response.json()
  expect(error.description).not.toContain(token.split('.')[1])
  return error.code === 'PSYNC_S2001' ? 'accepted' : `${response.status} ${error.code}`
}

describe('key sets by URL', () => {
  test('one request fetches the keys for all concurrent streams, also when the first one goes away', async () => {
    const key = await signer('RS256', AUDIENCE, 'first')
    let go: () => void = () => {}
    const held = new Promise<void>((resolve) => (go = resolve))
    keys.answer = (response) => void held.then(() => response.end(JSON.stringify({ keys: [key.jwk] })))
    const token = await key.sign({ sub: 'a' })
    const first = new AbortController()
    const gone = judged(token, first.signal).catch(() => 'gone')
    await until('the fetch', async () => keys.requests === 1)
    first.abort()
    expect(await gone).toBe('gone')
    const others = Promise.all(Array.from({ length: 40 }, () => judged(token)))
    await new Promise((resolve) => setTimeout(resolve, 300))
    go()
    expect(await others).toEqual(Array(40).fill('accepted'))
    expect(keys.requests).toBe(1)
  })

  test('every algorithm; a new key is found; invented key ids are not fetched for', async () => {
    const signers = await Promise.all(
      ['RS256', 'RS384', 'RS512', 'ES256', 'ES384', 'ES512', 'EdDSA'].map((algorithm) =>
        signer(algorithm, AUDIENCE, algorithm),
      ),
    )
    keys.publish(...signers.map((each) => each.jwk))
    const began = Date.now()
    const before = keys.requests
    for (const each of signers) {
      const token = await each.sign({ sub: 'a' })
      await until(each.algorithm, async () => (await judged(token)) === 'accepted')
    }
    const [rsa] = signers
    for (let i = 0; i < 60; i++)
      expect(await judged((await rsa?.sign({ sub: 'a' }, { kid: `k${i}` })) ?? '')).toBe('401 PSYNC_S2101')
    const allowed = 1 + Math.ceil((Date.now() - began) / COOLDOWN_MS)
    expect(keys.requests - before).toBeLessThanOrEqual(allowed)
    expect(keys.requests - before).toBeGreaterThanOrEqual(1)
    // With the right kid and the wrong key.
    const forger = await signer('RS256', AUDIENCE, 'RS256')
    expect(await judged(await forger.sign({ sub: 'a' }))).toBe('401 PSYNC_S2102')
  })

  test('keys of settings and of Supabase, each with its own audience', async () => {
    expect(await judged(await own.sign({ sub: 'a' }))).toBe('accepted')
    for (const algorithm of ['HS256', 'HS384', 'HS512']) {
      const by = secretSigner(algorithm, Buffer.from(secret, 'base64url'), AUDIENCE)
      expect(await judged(await by.sign({ sub: 'a' }))).toBe('accepted')
    }
    const legacy = secretSigner('HS256', new TextEncoder().encode(SUPABASE_SECRET), 'authenticated', 'legacy')
    // Tokens of a project name it as their issuer.
    const iss = `${supabase.url.replace('/keys.json', '')}/auth/v1`
    expect(await judged(await legacy.sign({ sub: 'a', iss }))).toBe('accepted')
    expect(await judged(await legacy.sign({ sub: 'a', iss, aud: AUDIENCE }))).toBe('401 PSYNC_S2105')
    expect(await judged(await legacy.sign({ sub: 'a', iss: 'https://other.supabase.co/auth/v1' }))).toBe(
      '401 PSYNC_S2101',
    )
    const project = await signer('ES256', 'authenticated', 'project')
    supabase.publish(project.jwk)
    const token = await project.sign({ sub: 'a', iss })
    await until('the key of the project', async () => (await judged(token)) === 'accepted')
  })

  test('while the provider is down known keys serve; an isolate that has none says so, and keys of settings serve on', async () => {
    const key = await signer('EdDSA', AUDIENCE, 'kept')
    keys.publish(key.jwk)
    const token = await key.sign({ sub: 'a' })
    await until('the key', async () => (await judged(token)) === 'accepted')
    keys.answer = (response) => response.writeHead(503).end('maintenance')
    expect(await judged(token)).toBe('accepted')
    await edge.restart()
    expect(await judged(token)).toBe('401 PSYNC_S2204')
    expect(await judged(await shared.sign({ sub: 'a' }))).toBe('accepted')
    expect(await judged(await own.sign({ sub: 'a' }))).toBe('accepted')
    keys.publish(key.jwk)
    await until('the provider is back', async () => (await judged(token)) === 'accepted')
  })

  test('an unmodified SDK syncs with them, and recovers from a token that is refused', async () => {
    const key = await signer('ES384', AUDIENCE, 'sdk')
    keys.publish(key.jwk)
    const good = await key.sign({ sub: 'alice', team: 'red' })
    await until('the key', async () => (await judged(good)) === 'accepted')
    const now = Math.floor(Date.now() / 1_000)
    const given = [await key.sign({ sub: 'alice', team: 'red', iat: now - 600, exp: now - 300 }), good]
    const database = powersync(directory.path, 'alice')
    try {
      await database.connect(
        connector(edge.url, async () => (given.length > 1 ? given.shift() : given[0]) ?? ''),
        { connectionMethod: SyncStreamConnectionMethod.HTTP, retryDelayMs: 200 },
      )
      await database.waitForFirstSync()
      expect(await database.getAll('select name from lists')).toEqual([{ name: 'of red' }])
    } finally {
      await database.close()
    }
  })
})

/** The native WebSocket, by hand. */
async function nativeSocket(
  token: string,
): Promise<{ client: RawClient; send(frame: unknown): void; closed: Promise<[code: number, error: string]> }> {
  const socket = new WebSocket(`${edge.url.replace('http', 'ws')}/sync/stream`)
  const client = new RawClient()
  let error = ''
  const closed = new Promise<[number, string]>((resolve) => (socket.onclose = ({ code }) => resolve([code, error])))
  socket.onmessage = ({ data }) => {
    const line: SyncLine | { error: { code: string; message: string } } = JSON.parse(String(data))
    if ('error' in line) error = `${line.error.code} ${line.error.message}`
    else client.line(line)
  }
  await new Promise((resolve) => (socket.onopen = resolve))
  const send = (frame: unknown): void => socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame))
  send({ open: { client_id: 'c' }, token, credit: 1_000_000 })
  return { client, send, closed }
}

const names = (client: RawClient): unknown[] => [...client.rows.values()].map((row) => row.name).sort()

describe('a token that is renewed on the open stream', () => {
  test('buckets follow the new claims on the same connection', async () => {
    const { client, send, closed } = await nativeSocket(await shared.sign({ sub: 'alice', team: 'red' }))
    await client.until(() => client.completes > 0)
    expect(names(client)).toEqual(['of red'])
    // The same claims: nothing is told, whatever else changes in every token.
    send({ token: await shared.sign({ sub: 'alice', team: 'red', jti: 'x' }) })
    send({ token: await shared.sign({ sub: 'alice', team: 'blue' }) })
    await client.until(() => names(client).includes('of blue'))
    expect(names(client)).toEqual(['of blue'])
    send({ token: await own.sign({ sub: 'alice', team: 'red' }) })
    await client.until(() => names(client).includes('of red'))
    expect(names(client)).toEqual(['of red'])
    // Access is taken away with the claim.
    send({ token: await shared.sign({ sub: 'alice' }) })
    await client.until(() => client.rows.size === 0)
    expect(client.seen.filter((type) => type === 'checkpoint')).toHaveLength(1)
    expect(client.seen.filter((type) => type === 'checkpoint_diff')).toHaveLength(3)
    // And changes go on to come under the new claims only.
    send({ token: await shared.sign({ sub: 'alice', team: 'blue' }) })
    await postgres.sql()`insert into lists values ('3', 'more of red', 'red'), ('4', 'more of blue', 'blue')`
    await client.until(() => names(client).includes('more of blue'))
    expect(names(client)).toEqual(['more of blue', 'of blue'])
    await postgres.sql()`delete from lists where id in ('3', '4')`
    send('no frame')
    expect(await closed).toEqual([4400, expect.stringContaining('ROCKPOOL_CLIENT_FRAME')])
  })

  test('the last of several tokens counts, also among those with the first frame', async () => {
    const { client, send } = await nativeSocket(await shared.sign({ sub: 'alice', team: 'red' }))
    for (const team of ['blue', 'red', 'blue', 'red', 'blue'])
      send({ token: await shared.sign({ sub: 'alice', team }) })
    await client.until(() => names(client).includes('of blue'))
    send({ token: await shared.sign({ sub: 'alice', team: 'red' }) })
    await client.until(() => names(client).includes('of red'))
    expect(names(client)).toEqual(['of red'])
  })

  const now = Math.floor(Date.now() / 1_000)
  test.each([
    ['another user', () => shared.sign({ sub: 'bob', team: 'red' }), 'PSYNC_S2101 a token of another user'],
    ['an expired one', () => shared.sign({ sub: 'alice', iat: now - 600, exp: now - 300 }), 'PSYNC_S2103'],
    ['another audience', () => shared.sign({ sub: 'alice', aud: 'elsewhere' }), 'PSYNC_S2105'],
    ['no token', async () => 'x', 'PSYNC_S2101'],
  ])('%s ends the stream with its reason', async (_, token, said) => {
    const { client, send, closed } = await nativeSocket(await shared.sign({ sub: 'alice', team: 'red' }))
    await client.until(() => client.completes > 0)
    send({ token: await token() })
    expect(await closed).toEqual([4401, expect.stringContaining(said)])
  })

  test('the stream outlives the token that it began with, and ends with the last one', async () => {
    const seconds = () => Math.floor(Date.now() / 1_000)
    const { client, send, closed } = await nativeSocket(
      await shared.sign({ sub: 'alice', team: 'red', exp: seconds() + 3 }),
    )
    await client.until(() => client.completes > 0)
    const end = seconds() + 9
    send({ token: await shared.sign({ sub: 'alice', team: 'blue', exp: end }) })
    await client.until(() => names(client).includes('of blue'))
    expect(await closed).toEqual([4401, expect.stringContaining('PSYNC_S2103')])
    expect(client.expires).toBe(0)
    expect(seconds()).toBeGreaterThanOrEqual(end - 1)
  })

  test('our client renews its token automatically, without a new connection, even when nobody is signed in at first', async () => {
    // A door in front of the edge that counts connections would hide nothing: every socket is an upgrade.
    let given = 0
    const states: string[] = []
    const db = await openSync({
      url: edge.url,
      path: ':memory:',
      schema: { tables: { lists: { columns: { name: 'text', owner_id: 'text' } } } },
      auth: async () => {
        given++
        if (given === 2) throw new SignedOut()
        const exp = Math.floor(Date.now() / 1_000) + (given === 1 ? 22 : 600)
        return shared.sign({ sub: 'carol', team: given === 1 ? 'red' : 'blue', exp })
      },
    })
    try {
      db.on('status', (status) => void states.push(status.state))
      await db.waitForSync()
      expect(await db.query('SELECT name FROM lists')).toEqual([{ name: 'of red' }])
      await until(
        'the renewal',
        async () => (await db.query<{ name: string }>('SELECT name FROM lists'))[0]?.name === 'of blue',
        60,
        () => states,
      )
      expect(given).toBe(3)
      expect(states.slice(states.indexOf('live'))).toContain('needs-auth')
      expect(states.slice(states.indexOf('live'))).not.toContain('connecting')
      expect(db.status.state).toBe('live')
    } finally {
      await db.close()
    }
  })
})

test('a key set at an address that the settings forbid is refused by the edge', async () => {
  const other = await temporaryDirectory()
  const door = createServer((_, response) => response.end('{"keys":[]}'))
  await new Promise<void>((resolve) => door.listen(0, '127.0.0.1', resolve))
  const refusing = await startEdge({
    databaseUrl: 'postgres://nobody:x@127.0.0.1:1/none',
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    syncConfig,
    directory: other.path,
    bindings: { JWKS_URL: keys.url, JWKS_REJECT_IP_RANGES: 'local' },
  })
  try {
    const response = await fetch(`${refusing.url}/status`, {
      headers: { authorization: `Token ${await shared.sign({ sub: 'a' })}` },
    })
    const { error }: { error: { code: string; description: string } } = await response.json()
    expect([response.status, error.code]).toEqual([401, 'PSYNC_S2203'])
    expect(error.description).toContain('JWKS_URL')
  } finally {
    await refusing.dispose()
    door.close()
    await other.remove()
  }
})
