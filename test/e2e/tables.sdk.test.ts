import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Sql } from 'postgres'
import { openSync, type SyncDatabase } from '@rockpool/client/node'
import type { ReplicatorStatus } from '../../protocol/messages/status.ts'
import { startEdge, type Edge } from '../support/edge.ts'
import { POSTGRES_VERSIONS, startPostgres, type TestPostgres } from '../support/postgres.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support/support.ts'

// What the definitions of tables do to clients: most such changes send nothing through the stream, and often no row
// changes afterwards.
// The file is long because every change of a table happens to one deployment.

const secret = newSecret()
let postgres: TestPostgres
let sql: Sql
let edge: Edge
let client: SyncDatabase
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let mismatches = 0

/** Starts the edge and a client whose tables are `tables`: name → columns. */
async function start(
  queries: readonly string[],
  tables: Record<string, readonly string[]>,
  publication?: string,
): Promise<void> {
  mismatches = 0
  const syncConfig = `bucket_definitions:\n  all:\n    data:\n${queries.map((query) => `      - ${query}\n`).join('')}`
  edge = await startEdge({
    databaseUrl: postgres.url,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    syncConfig,
    directory: `${directory.path}/edge`,
    bindings: { CATALOG_WATCH_SECONDS: '0.2', ...(publication === undefined ? {} : { PUBLICATION: publication }) },
  })
  const columns = Object.entries(tables).map(([name, list]) => [
    name,
    { columns: Object.fromEntries(list.map((each) => [each, 'text' as const])) },
  ])
  client = await openSync({
    url: edge.url,
    auth: () => token(secret, 'alice'),
    path: `${directory.path}/client.db`,
    schema: { tables: Object.fromEntries(columns) },
  })
  client.on('mismatch', () => mismatches++)
  await client.waitForSync({ timeout: 60_000 })
}

async function status(): Promise<ReplicatorStatus> {
  const response = await fetch(`${edge.url}/status`, {
    headers: { authorization: `Token ${await token(secret, 'ops', 60, { operator: true })}` },
  })
  const body: { data: ReplicatorStatus } = await response.json()
  return body.data
}

const rows = (list: readonly object[]): string[] => list.map((row) => JSON.stringify(Object.values(row))).sort()

/** The client ends with what the statement says. */
async function exact(local: string, source: string): Promise<void> {
  const held = async () => rows(await client.query(local))
  const truth = async () => rows(await sql.unsafe(source))
  await until(
    `the client to hold ${source}`,
    async () => JSON.stringify(await held()) === JSON.stringify(await truth()),
    40,
    async () => [await held(), await truth(), await status()],
  )
  expect(mismatches).toBe(0)
}

describe.each(POSTGRES_VERSIONS)('Postgres %s', (version) => {
  beforeAll(async () => {
    postgres = await startPostgres({}, { version })
    sql = postgres.sql()
  })
  afterAll(async () => {
    await postgres?.stop()
  })

  beforeEach(async () => {
    directory = await temporaryDirectory()
    await sql`select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active`
    await sql`drop publication if exists rockpool`
    await sql`drop publication if exists mine`
    await sql`drop schema if exists public cascade`
    await sql`drop schema if exists other cascade`
    await sql`create schema public`
  })
  afterEach(async () => {
    await client?.close()
    await edge?.dispose()
    await directory?.remove()
  })

  describe('changes of a table that send nothing', () => {
    const docs = () => exact('select id, title, n from docs', 'select id::text, title, n::text from docs')

    beforeEach(async () => {
      await sql`create table docs (id int primary key, title text)`
      await sql`insert into docs select i, 'doc ' || i from generate_series(1, 30) i`
    })

    test('a column added with a default, renamed, retyped with USING, dropped', async () => {
      await start(['SELECT * FROM docs'], { docs: ['title', 'n'] })
      await exact('select id, title from docs', 'select id::text, title from docs')
      await sql`alter table docs add column n int not null default 7`
      await docs()
      await sql`alter table docs rename column n to m`
      await exact('select id, n from docs', 'select id::text, null as n from docs')
      await sql`alter table docs rename column m to n`
      await docs()
      await sql`alter table docs alter column n type int using n * 3`
      await docs()
      await sql`alter table docs alter column n type text using 'n' || n`
      await docs()
      await sql`alter table docs drop column title`
      await exact('select id, title, n from docs', 'select id::text, null as title, n from docs')
    })

    test('what the schema of a client has and no row brings is told to it: not a column that is NULL everywhere, but bytes', async () => {
      await sql`alter table docs add column n int, add column raw bytea default 'x'`
      await start(['SELECT * FROM docs'], { docs: ['title', 'n', 'raw', 'createdAt'], later: ['title'] })
      await until('the look', async () => client.status.state === 'live')
      expect(client.status.unsynced).toEqual(['docs.raw', 'docs.createdAt', 'later'])
    })

    test('a dropped column that the sync config names: the rows stay, which is reported, until it is back', async () => {
      await sql`alter table docs add column owner text not null default 'alice'`
      await start(["SELECT id, title, 0 AS n FROM docs WHERE owner = 'alice'"], { docs: ['title', 'n'] })
      const titles = () => exact('select id, title from docs', "select id::text, title from docs where owner = 'alice'")
      await titles()
      const before = await client.query('select id, title from docs order by id')
      const told = () =>
        until('the column to be missed', async () =>
          (await status()).refusedTables.some(
            ({ table, reason }) => table === 'public.docs' && reason.includes('reads "owner", which it does not have'),
          ),
        )
      // Its rows change before we can know.
      await sql.begin(async (tx) => {
        await tx`alter table docs rename column owner to author`
        await tx`update docs set title = 'at once' where id < 5`
      })
      await told()
      await sql`update docs set title = 'later' where id = 7`
      expect(await client.query('select id, title from docs order by id')).toEqual(before)
      await sql`alter table docs rename column author to owner`
      await titles()
      await sql`alter table docs drop column owner`
      await told()
      expect(await client.query('select id from docs')).toHaveLength(30)
      await sql`alter table docs add column owner text not null default 'alice'`
      await sql`update docs set owner = 'bob' where id = 3`
      await titles()
      expect(await client.query('select id from docs')).toHaveLength(29)
      expect((await status()).diagnostics.recent.map(({ code }) => code)).toContain('ROCKPOOL_TABLE_REFUSED')
    })

    test('another type of the key, and there and back: rows whose keys read as before stay', async () => {
      await start(['SELECT id, title, 0 AS n FROM docs'], { docs: ['title', 'n'] })
      const titles = () => exact('select id, title from docs', 'select id::text, title from docs')
      await titles()
      for (const type of ['bigint', 'text using id::text', 'int using id::int']) {
        await sql.unsafe(`alter table docs alter column id type ${type}`)
        await sql`insert into docs select (100 + count(*))::int, 'behind the change' from docs`
        // With the rows of before taken out.
        await until('the copy to be over', async () => {
          const { copy, pendingBatches } = await status()
          const [{ n } = { n: '' }] = await client.query<{ n: string }>(
            "select count(*) as n from docs where title = 'behind the change'",
          )
          const [there] = await sql<{ n: string }[]>`select count(*) as n from docs where title = 'behind the change'`
          return copy === null && pendingBatches === 0 && Number(n) === Number(there?.n)
        })
        await sql`update docs set title = title || '!' where id::text = '7'`
        await titles()
      }
    })

    test('a volatile default, a renamed label of an enum, an unlogged table set logged', async () => {
      await sql`create type mood as enum ('sad', 'glad')`
      await sql`alter table docs add column mood mood default 'sad'`
      await sql`create unlogged table later (id int primary key, title text)`
      await sql`insert into later values (1, 'not in the WAL')`
      await start(['SELECT * FROM docs', 'SELECT * FROM later'], { docs: ['title', 'n', 'mood'], later: ['title'] })
      await exact('select id, mood from docs', 'select id::text, mood::text from docs')
      expect((await status()).refusedTables).toMatchObject([{ table: 'public.later' }])
      await sql`alter table docs add column n int default (random() * 1000)::int`
      await docs()
      await sql`alter type mood rename value 'sad' to 'blue'`
      await exact('select id, mood from docs', 'select id::text, mood::text from docs')
      await sql`alter table later set logged`
      await exact('select id, title from later', 'select id::text, title from later')
      expect((await status()).refusedTables).toEqual([])
    })

    test('a table that is renamed away and back, dropped, created again, and rewritten', async () => {
      await start(['SELECT id, title, 0 AS n FROM docs'], { docs: ['title', 'n'] })
      const titles = () => exact('select id, title from docs', 'select id::text, title from docs')
      await titles()
      const gone = () =>
        until('the table to be missed', async () =>
          (await status()).refusedTables.some(
            ({ table, reason }) => table === 'public.docs' && reason.includes('there is no such table'),
          ),
        )
      await sql`alter table docs rename to papers`
      await gone()
      // Nobody asked for its rows to go.
      expect(await client.query('select id from docs')).toHaveLength(30)
      await sql`update papers set title = 'renamed ' || id where id < 10`
      await sql`alter table papers rename to docs`
      await titles()
      await sql`vacuum full docs`
      await sql`cluster docs using docs_pkey`
      await titles()
      await sql`drop table docs`
      await gone()
      expect(await client.query('select id from docs')).not.toEqual([])
      await sql`create table docs (id int primary key, title text)`
      await sql`insert into docs values (3, 'anew')`
      await titles()
      await sql.begin(async (tx) => {
        await tx`drop table docs`
        await tx`create table docs (id int primary key, title text)`
        await tx`insert into docs values (5, 'at once')`
      })
      await titles()
      await sql`create schema other`
      await sql`alter table docs set schema other`
      await gone()
      expect(await client.query('select id from docs')).toEqual([{ id: '5' }])
    })

    test('tables that begin to match a wildcard, and a schema that is renamed', async () => {
      await sql`create table w_a (id text primary key, t text)`
      await sql`insert into w_a values ('a', 'first')`
      await start(['SELECT * FROM "w_%" AS wild'], { wild: ['t'] })
      await exact('select id, t from wild', 'select id, t from w_a')
      await sql`create table w_b (id text primary key, t text)`
      await sql`insert into w_b values ('b', 'second')`
      await exact('select id, t from wild', 'select id, t from w_a union all select id, t from w_b')
      await sql`alter table w_a rename to z_a`
      await exact('select id, t from wild', 'select id, t from w_b')
      await sql`alter table z_a rename to w_c`
      await exact('select id, t from wild', 'select id, t from w_c union all select id, t from w_b')
      await sql`alter schema public rename to other`
      await exact('select id, t from wild', 'select id, t from other.w_c where false')
      await sql`alter schema other rename to public`
      await exact('select id, t from wild', 'select id, t from w_c union all select id, t from w_b')
    })
  })

  describe('identities', () => {
    test('of every kind, changed while running', async () => {
      await sql`create table docs (a int, b text not null, title text, primary key (a))`
      await sql`create unique index docs_b on docs (b)`
      await sql`insert into docs select i, 'b' || i, 'doc ' || i from generate_series(1, 20) i`
      await start(['SELECT a AS id, b, title FROM docs'], { docs: ['b', 'title'] })
      const docs = () => exact('select id, b, title from docs', 'select a::text, b, title from docs')
      await docs()
      const change = async (n: number) => {
        await sql`update docs set title = ${`change ${n}`} where a % 3 = 0`
        await sql`update docs set a = a + 100 where a = ${n}`
        await sql`update docs set b = b || '!' where a = ${n + 1}`
        await sql`delete from docs where a = ${n + 2}`
        await docs()
      }
      await change(1)
      await sql`alter table docs replica identity using index docs_b`
      await docs()
      await change(4)
      await sql`alter table docs replica identity full`
      await change(7)
      await sql`alter table docs replica identity default`
      await change(10)
      await sql`alter table docs replica identity nothing`
      await until(
        'the table to be refused',
        async () => (await status()).refusedTables.some((each) => /NOTHING/.test(each.reason)),
        40,
      )
      // The application can write again, since the table is not published any more.
      await sql`update docs set title = 'nobody sees this yet' where a = 13`
      await sql`alter table docs replica identity default`
      await docs()
      await sql`alter table docs drop constraint docs_pkey`
      await until(
        'the table to be refused',
        async () => (await status()).refusedTables.some((each) => /primary key/.test(each.reason)),
        40,
      )
      await sql`alter table docs replica identity full`
      await docs()
      await change(14)
      expect((await status()).refusedTables).toEqual([])
    })

    test('no key at all, identity FULL: equal rows are counted', async () => {
      await sql`create table pairs (a int, b text)`
      await sql`alter table pairs replica identity full`
      await sql`insert into pairs select i % 10, 'b' || i % 10 from generate_series(1, 40) i`
      await start(['SELECT a || b AS id, a, b FROM pairs WHERE a < 100'], { pairs: ['a', 'b'] })
      const pairs = () =>
        exact('select id, a, b from pairs', 'select distinct a || b as id, a::text, b from pairs where a < 100')
      await pairs()
      const one = (a: number) => sql`delete from pairs where ctid = (select ctid from pairs where a = ${a} limit 1)`
      for (let i = 0; i < 3; i++) await one(1)
      await pairs()
      await one(1)
      await pairs()
      await sql`insert into pairs values (1, 'b1'), (1, 'b1'), (200, 'hidden'), (200, 'hidden')`
      await pairs()
      await sql`update pairs set b = 'moved' where ctid = (select ctid from pairs where a = 1 limit 1)`
      await sql`update pairs set a = a where a = 2`
      await pairs()
      await sql`update pairs set a = a - 190 where a = 200`
      await pairs()
      await sql`truncate pairs`
      await pairs()
    })

    test('a long key that is stored out of line', async () => {
      await sql`create table keys (k text primary key, n int)`
      await sql`alter table keys alter column k set storage external`
      // A btree takes 2,704 bytes.
      await sql`insert into keys select repeat(md5(i::text), 78) || i, i from generate_series(1, 5) i`
      await start(['SELECT n AS id, k FROM keys'], { keys: ['k'] })
      await exact('select id, k from keys', 'select n::text, k from keys')
      await sql`update keys set n = n + 10`
      await exact('select id, k from keys', 'select n::text, k from keys')
      await sql`update keys set k = k || 'x' where n = 12`
      await sql`delete from keys where n = 13`
      await exact('select id, k from keys', 'select n::text, k from keys')
    })
  })

  describe('partitions', () => {
    const parts = () => exact('select id, day, t from parts', 'select id::text, day::text, t from parts')

    for (const viaRoot of [false, true]) {
      test(`publish_via_partition_root = ${viaRoot}: rows move, partitions come, go, are truncated and dropped`, async () => {
        await sql`create table parts (id int, day int, t text, primary key (id, day)) partition by range (day)`
        await sql`create table parts_1 partition of parts for values from (0) to (10)`
        await sql`create table parts_2 (t text, day int not null, gone int, id int not null, primary key (id, day))`
        await sql`alter table parts_2 drop column gone`
        await sql`alter table parts attach partition parts_2 for values from (10) to (20)`
        await sql`insert into parts select i, i % 20, 'row ' || i from generate_series(1, 60) i`
        await sql.unsafe(`create publication mine for table parts with (publish_via_partition_root = ${viaRoot})`)
        await start(['SELECT * FROM parts'], { parts: ['day', 't'] }, 'mine')
        await parts()
        await sql`update parts set day = day + 10 where day in (1, 2, 3)`
        await sql`update parts set t = t || '!' where id % 4 = 0`
        await sql`delete from parts where id % 7 = 0`
        await parts()
        await sql`create table parts_3 (id int, day int, t text, primary key (id, day))`
        await sql`insert into parts_3 select i + 100, 20 + i % 10, 'attached ' || i from generate_series(1, 20) i`
        await sql`alter table parts attach partition parts_3 for values from (20) to (30)`
        await parts()
        await sql`insert into parts values (500, 25, 'through the root')`
        await sql`update parts_3 set t = 'through the partition' where id = 101`
        await parts()
        await sql`truncate parts_2`
        await parts()
        await sql`insert into parts values (501, 15, 'after the truncate')`
        await parts()
        await sql`alter table parts detach partition parts_3`
        await parts()
        await sql`insert into parts_3 values (502, 26, 'not a part any more')`
        await sql`drop table parts_1`
        await parts()
        await sql`create table parts_0 partition of parts default`
        await sql`insert into parts values (503, 1000, 'default')`
        await parts()
        await sql`truncate parts`
        await parts()
      })
    }

    test('the publication of our own; a partition that is read by its own name too', async () => {
      await sql`create table parts (id int, day int, t text, primary key (id, day)) partition by list (day)`
      await sql`create table parts_1 partition of parts for values in (1)`
      await sql`create table parts_2 partition of parts for values in (2) partition by list (id)`
      await sql`create table parts_2_a partition of parts_2 default`
      await sql`insert into parts select i, 1 + i % 2, 'row ' || i from generate_series(1, 10) i`
      await start(['SELECT * FROM parts', 'SELECT * FROM parts_2 AS second'], { parts: ['day', 't'], second: ['t'] })
      const both = async () => {
        await parts()
        await exact('select id, t from second', 'select id::text, t from parts_2')
      }
      await both()
      await sql`update parts set day = 3 - day where id < 4`
      await sql`insert into parts values (20, 2, 'new')`
      await both()
      await sql`alter table parts_2 replica identity nothing`
      await sql`alter table parts_2_a replica identity nothing`
      await until('the table to be refused', async () => (await status()).refusedTables.length > 0, 40)
      expect((await status()).refusedTables.map((each) => each.reason).join()).toMatch(
        /its partition public.parts_2_a cannot be followed/,
      )
      await sql`update parts_2 set t = 'the application goes on'`
      await sql`alter table parts_2_a replica identity default`
      await both()
    })
  })

  describe('publications that are not ours', () => {
    beforeEach(async () => {
      await sql`create table docs (id int primary key, title text, n int)`
      await sql`insert into docs select i, 'doc ' || i, i from generate_series(1, 20) i`
    })

    test('tables removed and added, row filters, column lists, kinds of changes, dropped and created again', async () => {
      await sql`create publication mine for table docs`
      await start(['SELECT * FROM docs'], { docs: ['title', 'n'] }, 'mine')
      const docs = (where = 'true') =>
        exact('select id, title, n from docs', `select id::text, title, n::text from docs where ${where}`)
      await docs()
      await sql`alter publication mine drop table docs`
      await docs('false')
      expect((await status()).refusedTables).toMatchObject([
        { table: 'public.docs', reason: expect.stringContaining('ADD TABLE') },
      ])
      await sql`update docs set title = 'unseen' where id < 5`
      await sql`alter publication mine add table docs`
      await docs()
      // The identity must cover the filter.
      await sql`alter table docs replica identity full`
      await sql`alter publication mine set table docs where (n < 10)`
      await docs('n < 10')
      await sql`update docs set n = n + 5`
      await docs('n < 10')
      await sql`update docs set n = 1 where id = 20`
      await docs('n < 10')
      await sql`alter table docs replica identity default`
      await sql`alter publication mine set table docs (id, title)`
      await exact('select id, title, n from docs', 'select id::text, title, null as n from docs')
      expect((await status()).refusedTables).toMatchObject([{ reason: expect.stringContaining('leaves out n') }])
      await sql`alter publication mine set table docs (id, title, n)`
      await docs()
      await sql`alter publication mine set (publish = 'insert')`
      await until(
        'it to be told',
        async () => /update, delete, truncate/.test((await status()).error?.message ?? ''),
        40,
      )
      await sql`delete from docs where id = 6`
      await sql`alter publication mine set (publish = 'insert, update, delete, truncate')`
      await docs()
      await sql`drop publication mine`
      await until('it to be told', async () => /no publication mine/.test((await status()).error?.message ?? ''), 40)
      await sql`delete from docs where id = 7`
      await sql`create publication mine for all tables`
      await docs()
      await sql`create table stranger (id int primary key)`
      await sql`insert into stranger values (1)`
      await sql`insert into docs values (99, 'after a stranger', 1)`
      await docs()
    })

    test.runIf(version >= 18)(
      'generated columns are in neither the copy nor the stream, unless they are published',
      async () => {
        await sql`alter table docs add column twice int generated always as (n * 2) stored`
        await sql`create publication mine for table docs`
        await start(['SELECT * FROM docs'], { docs: ['title', 'n', 'twice'] }, 'mine')
        const docs = (twice: string) =>
          exact('select id, n, twice from docs', `select id::text, n::text, ${twice} as twice from docs`)
        await docs('null')
        await sql`update docs set n = n + 1`
        await docs('null')
        await sql`alter publication mine set (publish_generated_columns = stored)`
        await docs('twice::text')
        await sql`update docs set n = n + 1`
        await docs('twice::text')
      },
    )
  })
})
