import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { openSync, type SyncDatabase } from '@rockpool/client/node'
import type { ReplicatorStatus } from '../../protocol/messages/status.ts'
import { startEdge, type Edge } from '../support/edge.ts'
import { freePort, startPostgres, type TestPostgres } from '../support/postgres.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support/support.ts'

// What Postgres does to tables, and what clients hold afterwards.

const secret = newSecret()
const config = (...queries: string[]) =>
  `bucket_definitions:\n  all:\n    data:\n${queries.map((query) => `      - ${query}\n`).join('')}`
let postgres: TestPostgres
let edge: Edge
let client: SyncDatabase
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let port: number
let mismatches = 0

beforeAll(async () => {
  postgres = await startPostgres()
})
afterAll(async () => {
  await postgres?.stop()
})

beforeEach(async () => {
  directory = await temporaryDirectory()
  const sql = postgres.sql()
  await sql`select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active`
  await sql`drop publication if exists rockpool`
  await sql`drop table if exists docs, tags cascade`
  await sql`create table docs (id int primary key, title text, body text, n int not null default 0)`
  await sql`create table tags (doc int, name text, primary key (doc, name))`
  await sql`insert into docs (id, title) select n, 'doc ' || n from generate_series(1, 50) n`
  port = await freePort()
})

afterEach(async () => {
  await client?.close()
  await edge?.dispose()
  await directory?.remove()
})

async function start(syncConfig = config('SELECT id, title, body, n FROM docs')): Promise<void> {
  edge = await startEdge({
    databaseUrl: postgres.url,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    syncConfig,
    directory: `${directory.path}/edge`,
    port,
  })
}

async function connect(): Promise<void> {
  mismatches = 0
  client = await openSync({
    url: edge.url,
    auth: () => token(secret, 'alice'),
    path: `${directory.path}/client.db`,
    schema: {
      tables: {
        docs: { columns: { title: 'text', body: 'text', n: 'integer' } },
        tags: { columns: { doc: 'integer', name: 'text' } },
      },
    },
  })
  client.on('mismatch', () => mismatches++)
  await client.waitForSync({ timeout: 60_000 })
}

const status = async (): Promise<ReplicatorStatus> => {
  const response = await fetch(`${edge.url}/status`, {
    headers: { authorization: `Token ${await token(secret, 'ops', 60, { operator: true })}` },
  })
  const body: { data: ReplicatorStatus } = await response.json()
  return body.data
}

interface Doc {
  id: string
  title: string | null
  body: string | null
  n: number
}
const held = () => client.query<Doc>('select id, title, body, n from docs order by cast(id as integer)')
const truth = () => postgres.sql()<Doc[]>`select id::text, title, body, n from docs order by docs.id`

/** Every client ends with the rows of Postgres, without a checksum that does not fit. */
async function exact(): Promise<void> {
  await until(
    'the client to be exact',
    async () => JSON.stringify(await held()) === JSON.stringify(await truth()),
    60,
    async () => [(await held()).length, (await truth()).length, await status()],
  )
  expect(mismatches).toBe(0)
}

describe('changes', () => {
  test('updates that leave out large values, key changes, deletes, TRUNCATE, many in one transaction', async () => {
    await start()
    await connect()
    const sql = postgres.sql()
    const large = Array.from({ length: 400 }, (_, i) => (i * 7919).toString(36))
      .join(' ')
      .repeat(3)
    await sql`alter table docs alter column body set storage external`
    await sql`update docs set body = ${large} where id <= 10`
    await exact()
    // The new tuple says only "unchanged" of the body.
    await sql`update docs set n = n + 1 where id <= 10`
    await exact()
    await sql`update docs set id = id + 1000 where id <= 5`
    await exact()
    await sql.begin(async (tx) => {
      await tx`delete from docs where id between 20 and 30`
      await tx`insert into docs (id, title) select n, 'again' from generate_series(25, 35) n on conflict (id) do update set title = excluded.title`
      await tx`savepoint a`
      await tx`update docs set title = 'rolled back'`
      await tx`rollback to savepoint a`
    })
    await exact()
    await sql`truncate docs`
    await sql`insert into docs (id, title) values (1, 'after the truncate')`
    await exact()
    expect(await held()).toHaveLength(1)
  })

  test('a large value that was never seen is read from the table before anything of its transaction is shown', async () => {
    const sql = postgres.sql()
    // So low that a row is stored out of line which is too short to be kept in row state.
    await sql`alter table docs set (toast_tuple_target = 128)`
    await sql`alter table docs alter column body set storage external`
    const body = Array.from({ length: 40 }, (_, i) => (i * 104729).toString(36)).join('')
    await sql`update docs set body = ${body} where id <= 20`
    await start()
    await connect()
    await sql`update docs set n = 7 where id <= 20`
    await sql`update docs set id = id + 500 where id = 3`
    await exact()
    expect((await held()).filter((doc) => doc.n === 7 && doc.body === body)).toHaveLength(20)
  })

  test('a row that is too large is left out and reported, the others continue', async () => {
    await start()
    await connect()
    const sql = postgres.sql()
    await sql`insert into docs (id, title, body) values (60, 'too large', repeat('x', 2500000)), (61, 'fits', repeat('y', 1000000))`
    await until('the row that fits', async () => (await client.query('select 1 from docs where id = 61')).length === 1)
    expect(await client.query('select 1 from docs where id = 60')).toEqual([])
    const { skippedRows } = await status()
    expect(skippedRows.count).toBe(1)
    expect(skippedRows.recent[0]).toMatchObject({ table: 'public.docs', key: '["60"]' })
    const plain = await fetch(`${edge.url}/status`, {
      headers: { authorization: `Token ${await token(secret, 'anybody')}` },
    })
    expect(await plain.text()).not.toContain('["60"]')
    await sql`update docs set body = 'short' where id = 60`
    await exact()
  })
})

describe('the source is not what it was', () => {
  test('after a dropped slot everything is compared again, also rows that were deleted meanwhile', async () => {
    await start()
    await connect()
    await exact()
    await edge.dispose()
    const sql = postgres.sql()
    await until(
      'the slot to be free',
      async () => (await sql`select 1 from pg_replication_slots where active`).length === 0,
    )
    await sql`select pg_drop_replication_slot('rockpool')`
    await sql`delete from docs where id % 3 = 0`
    await sql`update docs set title = 'changed meanwhile' where id % 5 = 0`
    await sql`insert into docs (id, title) values (100, 'new meanwhile')`
    await start()
    await exact()
    const { checkpoint } = await status()
    // 16 rows gone, 10 changed less 3 of those gone, 1 new; nothing else has an op.
    expect(checkpoint).toBe(50 + 1 + 16 + 7 + 1)
  })

  test('a publication with tables that are not followed, and a table that cannot be', async () => {
    const sql = postgres.sql()
    await sql`create table if not exists others (id int primary key)`
    await sql`create table if not exists nokey (id int)`
    await sql`create publication rockpool for table docs, others`
    await start(config('SELECT id, title, body, n FROM docs', 'SELECT id FROM nokey'))
    await connect()
    await sql`insert into others select n from generate_series(1, 10) n on conflict do nothing`
    await sql`insert into docs (id, title) values (70, 'after the others')`
    await exact()
    const { state, refusedTables, error } = await status()
    expect([state, error]).toEqual(['live', null])
    expect(refusedTables).toMatchObject([
      { table: 'public.nokey', reason: expect.stringContaining('it has no primary key') },
    ])
  })

  test('a table that is created again under the same name, and an added column', async () => {
    await start()
    await connect()
    await exact()
    const sql = postgres.sql()
    await sql`drop table docs`
    await sql`create table docs (id int primary key, title text, body text, n int not null default 0, extra text)`
    await sql`insert into docs (id, title) select n, 'new ' || n from generate_series(40, 60) n`
    await edge.restart()
    await exact()
  })
})

test('a new sync config is copied while the old one serves; unchanged definitions are not sent again', async () => {
  await start()
  await connect()
  await exact()
  const before = await status()
  await postgres.sql()`insert into tags values (1, 'a'), (2, 'b')`
  await edge.dispose()
  await start(
    config('SELECT id, title, body, n FROM docs') +
      `  tags:\n    data:\n      - SELECT doc || '/' || name AS id, doc, name FROM tags\n`,
  )
  await until('the new rows', async () => (await client.query('select 1 from tags')).length === 2)
  await exact()
  const after = await status()
  expect(after.plan).not.toBe(before.plan)
  // Two rows and the switch.
  expect(after.checkpoint - before.checkpoint).toBe(3)
})
