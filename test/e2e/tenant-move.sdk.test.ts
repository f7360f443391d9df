import postgres from 'postgres'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Follower, rowsOf } from '../support/follower.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { statusOf } from '../support/status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support/support.ts'
import { TenantEdge } from '../support/tenant-edge.ts'
import { native, ndjson, rsocket } from '../wire/transports.ts'

// A tenant moves to another server, to another database of that one and back, while its clients are connected.

const SYNC_CONFIG = 'bucket_definitions:\n  all:\n    data:\n      - SELECT id, title FROM items\n'
const ROWS = 500
const secret = newSecret()
const directory = await temporaryDirectory()
const clients: Follower[] = []
let old: TestPostgres
let other: TestPostgres
let edge: TenantEdge

const textsOf = ({ buckets }: Follower) => new Set(rowsOf(buckets, '').map(({ title }) => String(title)))

async function run(source: TestPostgres, database: string, statement: string): Promise<postgres.Row[]> {
  const sql = postgres(source.urlOf({ database }), { max: 1, onnotice: () => {} })
  try {
    return await sql.unsafe(statement)
  } finally {
    await sql.end({ timeout: 1 })
  }
}
const slotsOf = async (source: TestPostgres) =>
  (await source.sql()`select database, slot_name from pg_replication_slots`).map(({ database }) => String(database))
const publicationsOf = (source: TestPostgres, database: string) =>
  run(source, database, 'select pubname from pg_publication')

async function move(databaseUrl: string): Promise<void> {
  const { data } = await edge.admin('GET', 'tenants/acme')
  const { status, error } = await edge.admin(
    'PATCH',
    'tenants/acme',
    { secrets: { DATABASE_URL: databaseUrl } },
    { 'if-match': `"${String(data?.version)}"` },
  )
  expect([status, error]).toEqual([200, undefined])
}

async function everybodyHas(title: string): Promise<void> {
  for (const client of clients)
    await until(
      `everybody to have ${title}`,
      async () => textsOf(client).has(title),
      120,
      async () => [client.state, client.problems, await statusOf(edge.urlOf('acme'), secret)],
    )
}

beforeAll(async () => {
  ;[old, other] = await Promise.all([startPostgres(), startPostgres()])
  const table = `CREATE TABLE items (id int PRIMARY KEY, title text);
    INSERT INTO items SELECT n, 'row ' || n FROM generate_series(1, ${ROWS}) n`
  await run(old, 'app', table)
  // What was dumped and restored there, with what has happened since.
  await run(other, 'app', `${table}; DELETE FROM items WHERE id = 1; UPDATE items SET title = 'changed' WHERE id = 2`)
  await run(other, 'app', "INSERT INTO items VALUES (0, 'added')")
  await run(other, 'app', 'CREATE DATABASE second TEMPLATE app')
  edge = await TenantEdge.start({
    directory: `${directory.path}/edge`,
    ...(process.env.ROCKPOOL_LOG ? { log: (line: string) => console.log(`[edge] ${line}`) } : {}),
  })
  await edge.create('acme', {
    secrets: { DATABASE_URL: old.url, JWT_SECRET: secret },
    settings: { SYNC_CONFIG, JWT_AUDIENCE: AUDIENCE },
  })
  const options = { url: edge.urlOf('acme'), token: () => token(secret, 'ann') }
  for (const [i, transport] of [ndjson, native, rsocket('application/json')].entries())
    clients.push(new Follower({ ...options, clientId: `c${i}`, transport }))
  await everybodyHas('row 1')
})
afterAll(async () => {
  await Promise.all(clients.map((client) => client.close()))
  await edge?.edge.dispose()
  await Promise.all([old?.stop(), other?.stop()])
  await directory.remove()
})

test('to another server: clients get what differs and nothing else, no stream ends, and the slot of before goes', async () => {
  const before = clients.map(({ received }) => received)
  await move(other.url)
  await everybodyHas('added')
  const same = new Set([...Array.from({ length: ROWS - 2 }, (_, n) => `row ${n + 3}`), 'changed', 'added'])
  for (const [i, client] of clients.entries()) {
    expect(textsOf(client)).toEqual(same)
    // A row that has gone, one that was changed, and one that is new.
    expect(client.received - (before[i] ?? 0)).toBeLessThan(10)
    expect([client.streams, client.problems]).toEqual([1, []])
  }
  expect(await slotsOf(old)).toEqual([])
  expect(await publicationsOf(old, 'app')).toEqual([])
  expect(await slotsOf(other)).toEqual(['app'])
  expect((await edge.admin('GET', 'tenants/acme')).data).not.toHaveProperty('former')
  await run(other, 'app', "INSERT INTO items VALUES (1000, 'later')")
  await everybodyHas('later')
})

test('to another database of the same server, where the slot has the same name', async () => {
  await move(other.urlOf({ database: 'second' }))
  await run(other, 'second', "INSERT INTO items VALUES (1001, 'in the second')")
  await everybodyHas('in the second')
  for (const client of clients) {
    expect(textsOf(client).has('later')).toBe(false)
    expect([client.streams, client.problems]).toEqual([1, []])
  }
  expect(await slotsOf(other)).toEqual(['second'])
})

test('to another name of the same database: nothing is compared, and slot and publication stay', async () => {
  const before = clients.map(({ received }) => received)
  await move(other.urlOf({ database: 'second' }).replace('127.0.0.1', 'localhost'))
  await run(other, 'second', "INSERT INTO items VALUES (1002, 'by its other name')")
  await everybodyHas('by its other name')
  for (const [i, client] of clients.entries()) expect(client.received - (before[i] ?? 0)).toBe(1)
  expect(await slotsOf(other)).toEqual(['second'])
  await until('nothing is left behind', async () => {
    const { data } = await edge.admin('GET', 'tenants/acme')
    return data !== undefined && !('former' in data)
  })
})

test('away from a database that cannot be reached any more: it goes on, the slot is told, and dropped when it is back', async () => {
  await old.sql().unsafe('DROP TABLE items; CREATE TABLE items (id int PRIMARY KEY, title text)')
  await old.sql()`insert into items values (1, 'back in the old one')`
  await other.sql()`alter database second allow_connections false`
  await other.sql()`select pg_terminate_backend(pid) from pg_stat_activity where datname = 'second'`
  await move(old.url)
  await everybodyHas('back in the old one')
  const shown = await edge.admin('GET', 'tenants/acme')
  expect(shown.data).toMatchObject({
    former: [{ database: expect.stringMatching(/\/second$/), slot: expect.stringMatching(/^rockpool_acme_/) }],
  })
  expect(JSON.stringify(shown.data)).not.toContain('postgres://')
  expect(await slotsOf(other)).toEqual(['second'])
  await other.sql()`alter database second allow_connections true`
  // With the next session.
  await edge.admin('POST', 'tenants/acme/suspend', {})
  await edge.admin('POST', 'tenants/acme/resume', {})
  await until('the slot to go', async () => (await slotsOf(other)).length === 0)
  await everybodyHas('back in the old one')
})
