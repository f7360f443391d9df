import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import postgresJs, { type Sql } from 'postgres'
import { startPostgres, type TestPostgres } from '../../test/support/postgres.ts'
import { findTables } from './catalog/catalog.ts'
import { catalogVersion, connectSource, dropSlot, emitMarker, openReplication, prepareSource } from './index.ts'

let postgres: TestPostgres
let source: Sql
const names = (...tables: string[]) => tables.map((name) => ({ schema: 'public', name }))

beforeAll(async () => {
  postgres = await startPostgres({ wal_sender_timeout: '4s' })
  source = connectSource(postgres.url)
})
afterAll(async () => {
  await source?.end()
  await postgres?.stop()
})

describe('preparing the source', () => {
  test('tables that cannot be followed are refused with what to do, and the others are followed', async () => {
    const sql = postgres.sql()
    await sql`create table good (id int primary key)`
    await sql`create table nokey (id int)`
    await sql`create table nothing (id int primary key)`
    await sql`alter table nothing replica identity nothing`
    await sql`create table late (id int primary key deferrable)`
    await sql`create unlogged table unlogged (id int primary key)`
    await sql`create view seen as select 1 as id`
    await sql`create table parts (id int primary key) partition by range (id)`
    const prepared = await prepareSource(source, {
      slot: 's1',
      tables: names('good', 'nokey', 'nothing', 'late', 'unlogged', 'seen', 'parts', 'missing'),
    })
    expect(prepared.tables.map((table) => table.name)).toEqual(['good'])
    const reasons = new Map(prepared.refusedTables.map(({ table, reason }) => [table, reason]))
    expect(reasons.get('public.nokey')).toMatch(/no primary key/)
    expect(reasons.get('public.nothing')).toMatch(/NOTHING/)
    expect(reasons.get('public.late')).toMatch(/DEFERRABLE/)
    expect(reasons.get('public.unlogged')).toMatch(/SET LOGGED/)
    expect(reasons.get('public.seen')).toMatch(/not a table/)
    // Without partitions there is nothing to follow yet, and nothing wrong.
    expect(reasons.get('public.parts')).toBeUndefined()
    expect(reasons.get('public.missing')).toMatch(/no such table/)
    // The application's own updates still work.
    await sql`insert into nokey values (1)`
    await sql`update nokey set id = 2`
    await dropSlot(source, 's1')
  })

  test('reading the catalog locks no partition: between those of a TRUNCATE that would be a deadlock, which may cancel the application', async () => {
    const sql = postgres.sql()
    await sql`create table years (id int, year int, primary key (id, year)) partition by range (year)`
    await sql`create table years_1 partition of years for values from (0) to (10) partition by range (id)`
    await sql`create table years_1_1 partition of years_1 for values from (0) to (10)`
    await sql`create publication years for table years with (publish_via_partition_root)`
    const watched = postgresJs(postgres.url, { max: 1, connection: { lock_timeout: 2_000 } })
    const before = await catalogVersion(watched, 'years', names('years'))
    await sql.begin(async (tx) => {
      await tx`lock table years_1_1 in access exclusive mode`
      expect(await catalogVersion(watched, 'years', names('years'))).toBe(before)
      expect((await findTables(watched, names('years'))).map((table) => table.name)).toEqual([
        'years',
        'years_1',
        'years_1_1',
      ])
    })
    // A TRUNCATE that has locked the table, and goes on to its partitions when we look.
    const looking = await sql.begin(async (tx) => {
      await tx`lock table only years in access exclusive mode`
      const version = catalogVersion(watched, 'years', names('years'))
      version.catch(() => {})
      while ((await sql`select 1 from pg_locks where not granted and relation = 'years'::regclass`).length === 0);
      await tx`lock table years_1_1 in access exclusive mode`
      return { version }
    })
    expect(await looking.version).toBe(before)
    await sql`alter table years_1 detach partition years_1_1`
    expect(await catalogVersion(watched, 'years', names('years'))).not.toBe(before)
    expect((await findTables(watched, names('years'))).map((table) => table.name)).toEqual(['years', 'years_1'])
    await watched.end()
    await sql`drop publication years`
    await sql`drop table years, years_1_1`
  })

  test('the publication follows the tables, a wildcard matches all with the prefix, and only real changes change a fingerprint', async () => {
    const sql = postgres.sql()
    await sql`create table w_a (id int primary key, t text)`
    await sql`create table w_b (id int primary key)`
    const published = async () =>
      (await sql`select tablename from pg_publication_tables where pubname = 'rockpool' order by 1`).map(
        (row) => row.tablename,
      )
    const first = await prepareSource(source, { slot: 's2', tables: names('w_%') })
    expect(first.slot.created).toBe(true)
    expect(await published()).toEqual(['w_a', 'w_b'])
    await sql`insert into w_a values (1, 'x')`
    await sql`analyze w_a`
    await sql`create index on w_a (t)`
    await sql`vacuum full w_a`
    const second = await prepareSource(source, { slot: 's2', tables: names('w_a') })
    expect(second.slot.created).toBe(false)
    expect(await published()).toEqual(['w_a'])
    expect(second.tables[0]?.fingerprint).toBe(first.tables[0]?.fingerprint)
    const seen = new Set([second.tables[0]?.fingerprint])
    for (const change of [
      'alter table w_a add column n int default 1',
      'alter table w_a rename column n to m',
      'alter table w_a alter column m type text using m::text',
      'alter table w_a replica identity full',
      'alter publication rockpool drop table w_a',
    ]) {
      await sql.unsafe(change)
      seen.add((await prepareSource(source, { slot: 's2', tables: names('w_a') })).tables[0]?.fingerprint)
    }
    expect(seen.size).toBe(6)
    await dropSlot(source, 's2')
  })

  test('a publication that is set is not changed, and must exist', async () => {
    const sql = postgres.sql()
    await sql`create table given (id int primary key)`
    await sql`create publication mine for table given`
    await expect(prepareSource(source, { slot: 's3', publication: 'none', tables: names('given') })).rejects.toThrow(
      /no publication none: CREATE PUBLICATION/,
    )
    const prepared = await prepareSource(source, { slot: 's3', publication: 'mine', tables: names('given', 'good') })
    expect(prepared.tables.map((table) => table.name)).toEqual(['given'])
    expect(prepared.refusedTables[0]?.reason).toMatch(/not in the publication mine/)
    await dropSlot(source, 's3')
  })

  test('row security and missing privileges are reported, and do not show as missing rows', async () => {
    const sql = postgres.sql()
    await sql`create role limited login replication password 'x'`
    await sql`create table hidden (id int primary key)`
    await sql`alter table hidden enable row level security`
    await sql`grant select on hidden to limited`
    await sql`create publication two for table hidden, good`
    const limited = connectSource(postgres.url.replace('postgres:postgres@', 'limited:x@'))
    const prepared = await prepareSource(limited, { slot: 's4', publication: 'two', tables: names('hidden', 'good') })
    const reasons = prepared.refusedTables.map(({ reason }) => reason).join()
    expect(prepared.tables).toEqual([])
    expect(reasons).toMatch(/BYPASSRLS/)
    expect(reasons).toMatch(/GRANT SELECT/)
    await limited.end()
    await dropSlot(source, 's4')
  })
})

describe('a replication session', () => {
  test('unacknowledged transactions are sent again, after the one that was acknowledged by its commit LSN', async () => {
    const sql = postgres.sql()
    await sql`create table r (id int primary key)`
    const prepared = await prepareSource(source, { slot: 's5', tables: names('r') })
    const options = { slot: 's5', publication: prepared.publication, walSenderTimeoutMs: prepared.walSenderTimeoutMs }
    /** Commit LSNs in order, up to the marker. */
    const session = async (acknowledge: (commits: bigint[]) => bigint | null): Promise<bigint[]> => {
      const streaming = connectSource(postgres.url, { replication: true })
      const commits: bigint[] = []
      const done = Promise.withResolvers<void>()
      let marked = false
      const replication = await openReplication(streaming, options, {
        message: (message) => {
          if (message.type === 'message') marked = true
          if (message.type === 'commit') {
            commits.push(message.commitLsn)
            if (marked) done.resolve()
          }
        },
        keepalive: () => {},
      })
      await emitMarker(source, 'm', 'x')
      await done.promise
      const lsn = acknowledge(commits)
      if (lsn !== null) replication.acknowledge(lsn)
      await new Promise((resolve) => setTimeout(resolve, 200))
      await replication.close()
      return commits
    }
    for (let id = 0; id < 5; id++) await sql`insert into r values (${id})`
    const first = await session(() => null)
    expect(first.length).toBe(6)
    const second = await session((commits) => commits[2] ?? null)
    expect(second.slice(0, 6)).toEqual(first)
    const third = await session(() => 2n ** 60n)
    expect(third[0]).toBe(first[2])
    // An acknowledgement beyond the WAL is clamped: what is committed later is not lost.
    await sql`insert into r values (100)`
    expect((await session(() => null)).length).toBeGreaterThanOrEqual(2)
    await dropSlot(source, 's5')
  })

  test('a consumer that pauses for twice the wal_sender_timeout in the middle of a transaction is not disconnected', async () => {
    const sql = postgres.sql()
    await sql`create table p (id int primary key, t text)`
    const prepared = await prepareSource(source, { slot: 's6', tables: names('p') })
    const streaming = connectSource(postgres.url, { replication: true })
    let rows = 0
    const all = Promise.withResolvers<void>()
    const replication = await openReplication(
      streaming,
      { slot: 's6', publication: prepared.publication, walSenderTimeoutMs: prepared.walSenderTimeoutMs },
      {
        message: (message) => {
          if (message.type === 'insert') rows++
          if (message.type === 'commit') all.resolve()
          if (rows === 1_000 && message.type === 'insert') {
            replication.pause()
            setTimeout(() => replication.resume(), 8_000)
          }
        },
        keepalive: () => {},
      },
    )
    await sql`insert into p select n, repeat('x', 200) from generate_series(1, 100000) n`
    await Promise.race([all.promise, replication.ended])
    expect(rows).toBe(100_000)
    await replication.close()
    await dropSlot(source, 's6')
  })

  test('a marker is flushed at once and does not hang, regardless of the settings of role and standbys', async () => {
    const sql = postgres.sql()
    await sql`alter role postgres set synchronous_commit = off`
    await sql`alter system set synchronous_standby_names = 'ghost'`
    await sql`select pg_reload_conf()`
    const fresh = connectSource(postgres.url)
    await emitMarker(fresh, 'm', 'x')
    const [row] = await fresh<
      { flushed: boolean }[]
    >`select pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn() - 200::numeric as flushed`
    expect(row?.flushed).toBe(true)
    await fresh.end()
    await sql`alter system reset synchronous_standby_names`
    await sql`select pg_reload_conf()`
  })
})
