import { SignJWT } from 'jose'
import postgres from 'postgres'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { SyncLine } from '../../protocol/lines.ts'
import { DirectFollower } from '../support/direct-follower.ts'
import { Follower, rowsOf } from '../support/follower.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { statusOf } from '../support/status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support/support.ts'
import { TenantEdge } from '../support/tenant-edge.ts'
import { native, ndjson, rsocket } from '../wire/transports.ts'
import { RawWebSocket } from '../wire/web-socket.ts'

// Tokens of one tenant are revoked while streams of every kind run, begin and renew. Another tenant has the same users
// and notices nothing.
// The file is long because its tests share a database and an edge.

const NAMES = ['acme', 'other'] as const
type Name = (typeof NAMES)[number]
const SYNC_CONFIG =
  'bucket_definitions:\n  mine:\n    parameters: SELECT request.user_id() AS owner\n    data:\n      - SELECT id, title FROM items WHERE owner = bucket.owner\n'

const secrets = { acme: newSecret(), other: newSecret() }
const directory = await temporaryDirectory()
let source: TestPostgres
let edge: TenantEdge
let last = 0
const clients: { close(): Promise<void> }[] = []

const tokenOf = (name: Name, user: string, claims: Record<string, unknown> = {}) =>
  token(secrets[name], user, 600, claims)
const idsOf = (follower: Pick<Follower, 'buckets'>) => rowsOf(follower.buckets, '').map(({ id }) => Number(id))
const revoke = (body: object, name: Name = 'acme') => edge.admin('POST', `tenants/${name}/revoke`, body)
const unrevoke = (body: object) => edge.admin('POST', 'tenants/acme/unrevoke', body)

async function run(name: Name, statement: string): Promise<void> {
  const sql = postgres(source.urlOf({ database: name }), { max: 1, onnotice: () => {} })
  await sql.unsafe(statement)
  await sql.end({ timeout: 1 })
}

/** A row of a user, in both tenants. Returns its id. */
async function write(user: string): Promise<number> {
  const id = ++last
  for (const name of NAMES) await run(name, `INSERT INTO items VALUES (${id}, '${user}', 'of ${name}')`)
  return id
}

const TRANSPORTS = [ndjson, native, rsocket('application/json')]

/** A client for each transport, and a direct stream. */
function follow(name: Name, user: string, jwt: () => Promise<string> = () => tokenOf(name, user)) {
  const options = { url: edge.urlOf(name), token: jwt }
  const made = [
    ...TRANSPORTS.map((transport, i) => new Follower({ ...options, clientId: `${user}-${i}`, transport })),
    new DirectFollower(options),
  ]
  clients.push(...made)
  return made
}
type Client = ReturnType<typeof follow>[number]

async function has(client: Client, id: number): Promise<void> {
  await until(
    `row ${id}`,
    async () => idsOf(client).includes(id),
    60,
    () => [client.state, idsOf(client)],
  )
}

/** What each endpoint answers to a token. The status is one of up to a second ago. */
async function answers(name: Name, jwt: string): Promise<Record<string, number>> {
  const headers = { authorization: `Token ${jwt}`, 'content-type': 'application/json' }
  const ask = async (path: string, body?: object) => {
    const init = body ? { method: 'POST', body: JSON.stringify(body) } : {}
    const stop = new AbortController()
    const { status } = await fetch(edge.urlOf(name) + path, { ...init, headers, signal: stop.signal })
    stop.abort()
    return status
  }
  await new Promise((resolve) => setTimeout(resolve, 1_100))
  return {
    '/write-checkpoint2.json': await ask('/write-checkpoint2.json?client_id=c'),
    '/sync/checkpoint-request': await ask('/sync/checkpoint-request', { client_id: 'c', checkpoint_request_id: 1 }),
    '/buckets': await ask('/buckets'),
    '/status': await ask('/status'),
    '/sync/stream': await ask('/sync/stream', { raw_data: true }),
  }
}
const each = (status: number) => ({
  '/write-checkpoint2.json': status,
  '/sync/checkpoint-request': status,
  '/buckets': status,
  '/status': status,
  '/sync/stream': status,
})

beforeAll(async () => {
  source = await startPostgres()
  const sql = source.sql()
  for (const name of NAMES) {
    await sql.unsafe(`CREATE DATABASE ${name}`)
    await run(name, 'CREATE TABLE items (id int PRIMARY KEY, owner text, title text)')
  }
  edge = await TenantEdge.start({ directory: `${directory.path}/edge` })
  for (const name of NAMES) {
    await edge.create(name, {
      secrets: { DATABASE_URL: source.urlOf({ database: name }), JWT_SECRET: secrets[name] },
      settings: { SYNC_CONFIG, JWT_AUDIENCE: AUDIENCE },
    })
    await until(`${name} to be live`, async () => (await statusOf(edge.urlOf(name), secrets[name])).plan !== null, 120)
  }
})
afterAll(async () => {
  await Promise.all(clients.map((client) => client.close()))
  await edge?.edge.dispose()
  await source?.stop()
  await directory.remove()
})

test('a user: streams of every kind end, old tokens are refused everywhere, and tokens that are issued later are accepted', async () => {
  const old = await tokenOf('acme', 'ann')
  const [acme, other] = [follow('acme', 'ann', async () => old), follow('other', 'ann')]
  const bob = follow('acme', 'bob')
  const first = [await write('ann'), await write('bob')] as const
  for (const client of [...acme, ...other]) await has(client, first[0])
  for (const client of bob) await has(client, first[1])
  expect(await answers('acme', old)).toEqual(each(200))

  const { status, data } = await revoke({ user: 'ann' })
  expect([status, data]).toMatchObject([200, { told: true, error: null, revocation: { user: 'ann' } }])
  // The stream that was asked for above and left may still be there.
  expect([4, 5]).toContain(data?.streams)
  expect(await answers('acme', old)).toEqual(each(401))
  const missed = [await write('ann'), await write('bob')] as const
  for (const client of other) await has(client, missed[0])
  for (const client of bob) await has(client, missed[1])
  for (const client of acme) expect(idsOf(client)).not.toContain(missed[0])
  for (const client of acme.slice(1, 3)) expect(String(client.ended)).toMatch(/PSYNC_S2107/)

  for (const client of [...other, ...bob]) expect([client.streams, client.problems]).toEqual([1, []])
  expect((await edge.admin('GET', 'tenants/acme/revocations')).data).toMatchObject({
    revocations: [{ user: 'ann', by: 'ann' }],
    waiting: [],
    next: null,
  })
  expect((await unrevoke({ user: 'ann' })).data).toMatchObject({ told: true })
  expect(await answers('acme', old)).toEqual(each(200))
  for (const client of acme) await has(client, missed[0])
  expect((await edge.admin('GET', 'audit')).data?.entries).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ action: 'revoke', tenant: 'acme', details: 'user ann' }),
      expect.objectContaining({ action: 'unrevoke', tenant: 'acme', details: 'user ann' }),
    ]),
  )
})

test('tokens up to a time: those that were issued later are accepted, and their streams go on', async () => {
  const issued = async (secondsAgo: number) =>
    new SignJWT({ iat: Math.floor(Date.now() / 1_000) - secondsAgo })
      .setProtectedHeader({ alg: 'HS256' })
      .setSubject('liz')
      .setAudience(AUDIENCE)
      .setExpirationTime('1h')
      .sign(Buffer.from(secrets.acme, 'base64url'))
  const [older, newer] = [await issued(900), await issued(300)]
  const [a, b] = [follow('acme', 'liz', async () => older), follow('acme', 'liz', async () => newer)]
  const id = await write('liz')
  for (const client of [...a, ...b]) await has(client, id)
  const before = new Date(Date.now() - 600_000).toISOString()
  expect((await revoke({ user: 'liz', before })).data).toMatchObject({ streams: 4 })
  const second = await write('liz')
  for (const client of b) await has(client, second)
  for (const client of a) expect(idsOf(client)).not.toContain(second)
  for (const client of b) expect(client.streams).toBe(1)
})

test('for ever: also a token that is issued afterwards; taken back, everything comes', async () => {
  const eve = follow('acme', 'eve')
  const id = await write('eve')
  for (const client of eve) await has(client, id)
  expect((await revoke({ user: 'eve', forever: true })).data).toMatchObject({ streams: 4 })
  const missed = await write('eve')
  expect(await answers('acme', await tokenOf('acme', 'eve'))).toEqual(each(401))
  expect(await answers('other', await tokenOf('other', 'eve'))).toEqual(each(200))
  for (const client of eve) expect(idsOf(client)).not.toContain(missed)
  await unrevoke({ user: 'eve' })
  for (const client of eve) await has(client, missed)
})

test('one token by its jti, and one device by its client id: others of the same user go on', async () => {
  const [lost, kept] = [await tokenOf('acme', 'kim', { jti: 'lost' }), await tokenOf('acme', 'kim', { jti: 'kept' })]
  const [a, b] = [follow('acme', 'kim', async () => lost), follow('acme', 'kim', async () => kept)]
  const id = await write('kim')
  for (const client of [...a, ...b]) await has(client, id)
  expect((await revoke({ jti: 'lost' })).data).toMatchObject({ streams: 4 })
  expect([await answers('acme', lost), await answers('acme', kept)]).toEqual([each(401), each(200)])
  const second = await write('kim')
  for (const client of b) await has(client, second)
  for (const client of a) expect(idsOf(client)).not.toContain(second)
  // Both clients of a transport say the same id.
  expect((await revoke({ client: 'kim-1', forever: true })).data).toMatchObject({ streams: 1 })
  const third = await write('kim')
  for (const i of [0, 2, 3]) await has(b[i] as Client, third)
  expect(idsOf(b[1] as Client)).not.toContain(third)
  await unrevoke({ client: 'kim-1' })
  await has(b[1] as Client, third)
})

test('a stream does not continue under a revoked token: nothing that its claims give is sent', async () => {
  await run('acme', "INSERT INTO items VALUES (90001, 'max', 'secret')")
  const [good, bad] = [await tokenOf('acme', 'max', { jti: 'good' }), await tokenOf('acme', 'max', { jti: 'bad' })]
  await revoke({ jti: 'bad' })
  const socket = await RawWebSocket.open(edge.urlOf('acme'))
  socket.send(JSON.stringify({ open: { raw_data: true, client_id: 'm' }, token: good, credit: 500_000 }))
  const lines: SyncLine[] = []
  const next = async () => {
    const message = await socket.next()
    if (typeof message === 'string') lines.push(...message.split('\n').map((line) => JSON.parse(line) as SyncLine))
    return message
  }
  while (!lines.some((line) => 'checkpoint_complete' in line)) await next()
  // One that is not revoked is accepted, and the stream goes on.
  socket.send(JSON.stringify({ token: await tokenOf('acme', 'max', { jti: 'better' }) }))
  const id = await write('max')
  while (!JSON.stringify(lines).includes(`"${id}"`)) await next()
  socket.send(JSON.stringify({ token: bad }))
  let message = await next()
  while (typeof message === 'string') message = await next()
  expect(JSON.stringify(lines.at(-1))).toContain('PSYNC_S2107')
  expect((await revoke({ jti: 'better' })).data).toMatchObject({ streams: 0 })
  expect(await answers('acme', good)).toEqual(each(200))
})

test('streams that begin at the moment of the revocation are refused or ended: after the answer none has anything', async () => {
  await write('rae')
  for (let round = 0; round < 4; round++) {
    const jwt = await tokenOf('acme', 'rae', { jti: `r${round}` })
    const racing = Array.from({ length: 12 }, (_, i) => {
      const options = { url: edge.urlOf('acme'), token: async () => jwt }
      return i % 4 === 3
        ? new DirectFollower(options)
        : new Follower({ ...options, clientId: `r-${i}`, transport: TRANSPORTS[i % 4] ?? ndjson })
    })
    clients.push(...racing)
    await new Promise((resolve) => setTimeout(resolve, 40 * round))
    expect((await revoke({ jti: `r${round}` })).data).toMatchObject({ told: true })
    const id = await write('rae')
    const witness = new Follower({ url: edge.urlOf('acme'), token: () => tokenOf('acme', 'rae'), clientId: 'w' })
    clients.push(witness)
    await has(witness as Client, id)
    for (const client of racing) expect(idsOf(client)).not.toContain(id)
    await Promise.all([...racing, witness].map((client) => client.close()))
  }
})

test('what was revoked is refused after a crash, and by objects that have slept', async () => {
  const jwt = await tokenOf('acme', 'sam', { jti: 'sam' })
  const sam = follow('acme', 'sam', async () => jwt)
  const id = await write('sam')
  for (const client of sam) await has(client, id)
  const [answer] = await Promise.all([revoke({ jti: 'sam' }).catch(() => null), edge.edge.kill9()])
  if (answer?.data?.told !== true) {
    // The answer was lost, or not all had been told: it is asked for again, or has gone on by itself.
    expect((await revoke({ jti: 'sam' })).data).toMatchObject({ told: true })
  }
  expect(await answers('acme', jwt)).toEqual(each(401))
  const missed = await write('sam')
  const other = follow('other', 'sam')
  for (const client of other) await has(client, missed)
  for (const client of sam) expect(idsOf(client)).not.toContain(missed)
})

test('a suspended tenant: what is revoked then is refused when it is resumed', async () => {
  const jwt = await tokenOf('acme', 'tom')
  expect(await answers('acme', jwt)).toEqual(each(200))
  await edge.admin('POST', 'tenants/acme/suspend', {})
  expect(await answers('acme', jwt)).toEqual(each(404))
  expect((await revoke({ user: 'tom', forever: true })).data).toMatchObject({ told: true })
  await edge.admin('POST', 'tenants/acme/resume', {})
  expect(await answers('acme', jwt)).toEqual(each(401))
})

test('what cannot be revoked is refused with its reason', async () => {
  const refused = async (body: object) => {
    const { status, error } = await revoke(body)
    return [status, error?.code]
  }
  expect(await refused({})).toEqual([400, 'PSYNC_S2001'])
  expect(await refused({ user: 'a', jti: 'b' })).toEqual([400, 'PSYNC_S2001'])
  expect(await refused({ user: 'a', before: '2099-01-01T00:00:00Z' })).toEqual([400, 'PSYNC_S2001'])
  expect(await refused({ user: 'a', before: '2020-01-01T00:00:00Z' })).toEqual([400, 'PSYNC_S2001'])
  expect(await refused({ jti: 'a', forever: true })).toEqual([400, 'PSYNC_S2001'])
  expect((await revoke({ user: 'a' }, 'nobody' as Name)).status).toBe(404)
})
