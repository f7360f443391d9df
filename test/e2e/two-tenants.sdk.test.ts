import postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DirectFollower } from '../support/direct-follower.ts'
import { Follower, rowsOf } from '../support/follower.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { requestWriteCheckpoint, statusOf } from '../support/status.ts'
import { newSecret, temporaryDirectory, token, until, within } from '../support/support.ts'
import { TenantEdge } from '../support/tenant-edge.ts'
import { bson, native, ndjson, rsocket, type Transport } from '../wire/transports.ts'

// Two tenants of the Directory side by side: the same tables, the same sync config, the same user and the same client
// id, in two databases of one cluster.

const NAMES = ['alpha', 'beta'] as const
type Name = (typeof NAMES)[number]
const SYNC_CONFIG =
  'bucket_definitions:\n  all:\n    parameters: SELECT request.user_id() AS owner\n    data:\n      - SELECT id, title FROM items WHERE owner = bucket.owner\n'
const USER = 'zoë'
const TRANSPORTS: [string, Transport][] = [
  ['NDJSON', ndjson],
  ['BSON', bson],
  ['WebSocket', native],
  ['RSocket', rsocket('application/json')],
  ['RSocket of BSON', rsocket('application/bson')],
]

const secrets = { alpha: newSecret(), beta: newSecret() }
const directory = await temporaryDirectory()
let source: TestPostgres
let edge: TenantEdge
let last = 0

const tokenOf = (name: Name) => token(secrets[name], USER)
const titlesOf = (buckets: Parameters<typeof rowsOf>[0]) =>
  rowsOf(buckets, '')
    .map(({ title }) => String(title))
    .sort()

async function run<T extends object>(name: Name, statement: string): Promise<T[]> {
  const sql = postgres(source.urlOf({ database: name }), { max: 1, onnotice: () => {} })
  try {
    return await sql.unsafe<T[]>(statement)
  } finally {
    await sql.end({ timeout: 1 })
  }
}

beforeAll(async () => {
  source = await startPostgres()
  edge = await TenantEdge.start({ directory: `${directory.path}/edge`, bindings: { DELETION_LATE_SECONDS: '1' } })
  for (const name of NAMES) {
    await source.sql().unsafe(`CREATE DATABASE ${name}`)
    await run(
      name,
      `CREATE TABLE items (id text PRIMARY KEY, owner text, title text); INSERT INTO items VALUES ('1', '${USER}', 'first of ${name}')`,
    )
    await edge.create(name, {
      secrets: { DATABASE_URL: source.urlOf({ database: name }), JWT_SECRET: secrets[name] },
      settings: { SYNC_CONFIG, JWT_AUDIENCE: 'rockpool-test' },
    })
  }
  for (const name of NAMES) {
    const live = async () => (await statusOf(edge.urlOf(name), secrets[name])).plan !== null
    await until(`the first copy of ${name}`, live, 120, () => statusOf(edge.urlOf(name), secrets[name]))
  }
})
afterAll(async () => {
  await edge?.edge.dispose()
  await source?.stop()
  await directory.remove()
})

describe.each(TRANSPORTS)('over %s', (_, transport) => {
  test('each client has the rows of its tenant, by checksums that fit, and none of the other', async () => {
    const seen = { alpha: new Set<string>(), beta: new Set<string>() }
    const open = (name: Name) =>
      new Follower({
        url: edge.urlOf(name),
        token: () => tokenOf(name),
        clientId: 'one-client-id',
        transport,
        at: (_checkpoint, buckets) => titlesOf(buckets).forEach((title) => seen[name].add(title)),
      })
    const clients = { alpha: open('alpha'), beta: open('beta') }
    try {
      // The same ids in both, at the same time.
      const id = String(++last + 1)
      await Promise.all(
        NAMES.map((name) => run(name, `INSERT INTO items VALUES ('${id}', '${USER}', 'number ${id} of ${name}')`)),
      )
      for (const name of NAMES) {
        const wanted = (await run<{ title: string }>(name, 'SELECT title FROM items')).map(({ title }) => title).sort()
        const client = clients[name]
        const same = async () => JSON.stringify(titlesOf(client.buckets)) === JSON.stringify(wanted)
        await until(`${name} to have its rows`, same, 60, () => [client.state, titlesOf(client.buckets)])
        expect(client.problems).toEqual([])
        expect([...seen[name]].filter((title) => !title.endsWith(` of ${name}`))).toEqual([])
        expect(client.buckets.size).toBe(1)
      }
      // A write checkpoint of the one is none of the other, although user and client are called alike.
      const number = await requestWriteCheckpoint(edge.urlOf('alpha'), await tokenOf('alpha'), 'one-client-id')
      await until(
        'its write checkpoint',
        async () => clients.alpha.writeCheckpoint >= number,
        60,
        () => clients.alpha.state,
      )
      expect(clients.beta.writeCheckpoint).toBe(0n)
    } finally {
      await Promise.all(NAMES.map((name) => clients[name].close()))
    }
  })

  test('the token of the other tenant opens nothing', async () => {
    const request = { raw_data: true, client_id: 'stranger' }
    const lines: unknown[] = []
    const read = async () => {
      const to = {
        url: edge.urlOf('beta'),
        token: await tokenOf('alpha'),
        request,
        signal: new AbortController().signal,
      }
      for await (const line of transport(to)) lines.push(line)
    }
    // It ends with an error, or cleanly where the test's client says nothing of errors.
    await within('a refusal', read().catch(String), 60)
    expect(lines).toEqual([])
  })
})

test('direct streams of one bucket name are of two objects', async () => {
  const clients = NAMES.map((name) => new DirectFollower({ url: edge.urlOf(name), token: () => tokenOf(name) }))
  for (const [i, name] of NAMES.entries()) {
    const client = clients[i]
    if (!client) throw new Error('there is no client')
    await until(
      `rows of ${name}`,
      async () => titlesOf(client.buckets).length === last + 1,
      60,
      () => client.state,
    )
    expect(titlesOf(client.buckets).filter((title) => !title.endsWith(` of ${name}`))).toEqual([])
    expect(client.problems).toEqual([])
  }
  await Promise.all(clients.map((client) => client.close()))
})

test('two tenants on one database have a slot and a publication each, and one that goes leaves the other as it was', async () => {
  const traces = async () => {
    const slots = await source.sql()<
      { name: string }[]
    >`select slot_name as name from pg_replication_slots where database = 'alpha' order by 1`
    const publications = await run<{ name: string }>('alpha', 'SELECT pubname AS name FROM pg_publication ORDER BY 1')
    return [slots, publications].map((rows) => rows.map(({ name }) => name.replace(/_[0-9a-f]{8}$/, '')))
  }
  const secret = newSecret()
  await edge.create('twin', {
    secrets: { DATABASE_URL: source.urlOf({ database: 'alpha' }), JWT_SECRET: secret },
    settings: { SYNC_CONFIG: SYNC_CONFIG.replace('all:', 'others:'), JWT_AUDIENCE: 'rockpool-test' },
  })
  const twin = new Follower({ url: edge.urlOf('twin'), token: () => token(secret, USER), clientId: 'twin' })
  const alpha = new Follower({ url: edge.urlOf('alpha'), token: () => tokenOf('alpha'), clientId: 'alpha' })
  const both = [twin, alpha]
  const have = (client: Follower) =>
    until(
      'all rows',
      async () => titlesOf(client.buckets).length === last + 1,
      60,
      () => client.state,
    )
  for (const client of both) await have(client)
  expect(await traces()).toEqual([
    ['rockpool_alpha', 'rockpool_twin'],
    ['rockpool_alpha', 'rockpool_twin'],
  ])
  await run('alpha', `INSERT INTO items VALUES ('${++last + 1}', '${USER}', 'later of alpha')`)
  for (const client of both) await have(client)
  await edge.admin('DELETE', 'tenants/twin', {}, { 'if-match': '"1"' })
  await until('the end of it', async () => (await edge.admin('GET', 'tenants/twin')).status === 404)
  expect(await traces()).toEqual([['rockpool_alpha'], ['rockpool_alpha']])
  await run('alpha', `INSERT INTO items VALUES ('${++last + 1}', '${USER}', 'latest of alpha')`)
  await have(alpha)
  expect([alpha.problems, alpha.streams, twin.problems]).toEqual([[], 1, []])
  await Promise.all(both.map((client) => client.close()))
})

test('each has a slot and a publication of its own in the cluster', async () => {
  const slots = await source.sql()<{ slot: string; database: string }[]>`
    select slot_name as slot, database from pg_replication_slots order by database`
  expect(slots.map(({ slot, database }) => [database, slot.replace(/_[0-9a-f]{8}$/, '')])).toEqual([
    ['alpha', 'rockpool_alpha'],
    ['beta', 'rockpool_beta'],
  ])
  for (const name of NAMES) {
    const publications = await run<{ pubname: string }>(name, 'SELECT pubname FROM pg_publication')
    expect(publications.map(({ pubname }) => pubname)).toEqual([slots.find(({ database }) => database === name)?.slot])
  }
})
