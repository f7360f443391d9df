import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import postgresClient, { type Sql } from 'postgres'
import type { NodeReplica } from '../support/node-replica.ts'
import { postgresReplica, type PostgresReplicaOptions } from '../support/postgres-replica.ts'
import { POSTGRES_VERSIONS, startPostgres, type TestPostgres } from '../support/postgres.ts'
import { Random } from '../support/random.ts'

// Rows are copied beside the stream while other transactions write. A missing synchronous standby makes the gap wide
// between a commit that is streamed and one that others see: commits wait for it, and are released at random. In that
// gap the obvious rules lose rows.

const syncConfig = `
bucket_definitions:
  all:
    data:
      - SELECT k AS id, n, body FROM docs
      - SELECT a || ':' || b AS id, a, b FROM dups
      - SELECT id, part, t FROM parts
`
/** A table of 800 rows is then some forty chunks. */
const CHUNK: PostgresReplicaOptions['chunk'] = { rows: 40, length: 20_000, firstBlocks: 2, maxBlocks: 4 }
const WRITERS = 6
const WAITING_WRITERS = 4

interface Bed {
  postgres: TestPostgres
  pool: Sql
  waiting: Sql
}

async function tables(sql: Sql): Promise<void> {
  await sql`drop table if exists docs, dups, parts cascade`
  await sql`create table docs (k text primary key, n int not null, body text, filler text)`
  await sql`alter table docs alter column body set storage external`
  await sql`insert into docs select 'k' || i, i, repeat(md5(i::text), 80), repeat('f', 200) from generate_series(1, 800) i`
  await sql`create table dups (a int, b text, filler text)`
  await sql`alter table dups replica identity full`
  await sql`insert into dups select i % 60, 'b' || i % 7, repeat('f', 100) from generate_series(1, 600) i`
  // Different rows, of which the sync config sees the same.
  await sql`insert into dups select 0, 'b0', repeat('f', i) from generate_series(0, 2) i`
  await sql`create table parts (id text, part int, t text, filler text, primary key (id, part)) partition by list (part)`
  for (const n of [0, 1, 2]) await sql.unsafe(`create table parts_${n} partition of parts for values in (${n})`)
  await sql`insert into parts select 'p' || i, i % 3, 't' || i, repeat('f', 200) from generate_series(1, 500) i`
}

/** One transaction of a random kind. */
async function write(sql: Sql, random: Random, n: number): Promise<void> {
  const key = () => `k${random.int(900)}`
  await sql
    .begin(async (tx) => {
      const steps = 1 + random.int(3)
      for (let i = 0; i < steps; i++) {
        switch (random.int(12)) {
          case 0:
            await tx`update docs set n = ${n} where k = ${key()}`
            break
          case 1:
            // Not HOT, and often into another block.
            await tx`update docs set filler = repeat('g', ${random.int(400)}), n = ${n} where k = ${key()}`
            break
          case 2:
            await tx`delete from docs where k = ${key()}`
            break
          case 3:
            await tx`insert into docs values (${key()}, ${n}, repeat(md5(${n}::text), ${random.int(160)}), repeat('h', ${random.int(300)}))
            on conflict (k) do update set n = excluded.n, body = excluded.body`
            break
          case 4:
            await tx`update docs set k = ${key()} where k = ${key()}`
            break
          case 5:
            await tx
              .savepoint(async (point) => {
                await point`update docs set n = n + 1 where k = ${key()}`
                if (random.chance(0.5)) throw new RolledBack()
              })
              .catch(rolledBack)
            break
          case 6:
            await tx`insert into dups values (${random.int(60)}, ${`b${random.int(7)}`}, repeat('f', 100))`
            break
          case 7:
            await tx`delete from dups where ctid in (select ctid from dups where a = ${random.int(60)} limit ${1 + random.int(2)})`
            break
          case 8:
            await tx`update dups set b = ${`b${random.int(7)}`} where ctid in (select ctid from dups where a = ${random.int(60)} limit 1)`
            break
          case 9:
            await tx`update parts set part = (part + 1) % 3, t = ${`t${n}`} where id = ${`p${random.int(520)}`}`
            break
          case 10:
            await tx`insert into parts values (${`p${random.int(520)}`}, ${random.int(3)}, ${`t${n}`}, repeat('f', 200)) on conflict do nothing`
            break
          default:
            await tx`delete from parts where id = ${`p${random.int(520)}`}`
        }
      }
      // More subtransactions than a backend's cache of them holds.
      if (random.chance(0.01)) {
        await tx`do $$ begin for i in 1..70 loop begin update docs set n = n + 1 where k = 'k' || (i * 11); exception when others then null; end; end loop; end $$`
      }
      if (random.chance(0.1)) await tx`select pg_sleep(${random.int(80) / 1000})`
      if (random.chance(0.1)) throw new RolledBack()
    })
    .catch(rolledBack)
}

class RolledBack extends Error {}
function rolledBack(error: unknown): void {
  // A deadlock, a duplicate key: the transaction is rolled back, as an application's may be. A cancelled wait for a
  // standby is a commit.
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  if (!(error instanceof RolledBack) && !['40001', '40P01', '23505', '25P02', '55P03', '57014'].includes(code))
    throw error
}
/** Writers run until told; commits that wait for the standby are released at random. */
function load(bed: Bed, seed: number): { failed: Promise<never>; stop(): Promise<void> } {
  let on = true
  const writer = async (sql: Sql, i: number): Promise<void> => {
    const random = new Random(seed * 100 + i)
    for (let n = i; on; n += 10) await write(sql, random, n)
  }
  const release = async (): Promise<void> => {
    const random = new Random(seed * 100 + 99)
    while (on) {
      await pause(10 + random.int(60))
      await releaseSome(bed.pool, random)
      if (random.chance(0.2)) await bed.pool`vacuum docs`
    }
  }
  const prepared = async (): Promise<void> => {
    const random = new Random(seed * 100 + 98)
    const connection = await bed.pool.reserve()
    try {
      for (let n = 0; on; n++) {
        const name = `prepared ${seed} ${n}`
        await connection`begin`
        await connection`update docs set n = ${n} where k = ${`k${random.int(800)}`}`
        await connection`insert into dups values (${n}, 'prepared', '')`
        await connection.unsafe(`prepare transaction '${name}'`)
        await pause(random.int(200))
        await connection.unsafe(`${random.chance(0.8) ? 'commit' : 'rollback'} prepared '${name}'`)
      }
    } finally {
      connection.release()
    }
  }
  /** Blocks become others in the middle of a copy, and rows of the old ones go without a word of their own. */
  const rewrites = async (): Promise<void> => {
    const random = new Random(seed * 100 + 97)
    const connection = await bed.pool.reserve()
    try {
      // What waits for the lock keeps all others out.
      await connection`set lock_timeout = '50ms'`
      while (on) {
        await pause(random.int(300))
        if (random.chance(0.5)) await connection`vacuum full docs`.catch(rolledBack)
        else {
          await connection`begin`
          await connection`truncate docs`
            .then(
              () =>
                connection`insert into docs select 'k' || i, -i, repeat(md5(i::text), 80), '' from generate_series(1, 300) i`,
            )
            .catch(rolledBack)
          await connection`commit`
        }
      }
    } finally {
      await connection`reset lock_timeout`
      connection.release()
    }
  }
  const running = [
    ...Array.from({ length: WRITERS }, (_, i) => writer(i < WAITING_WRITERS ? bed.waiting : bed.pool, i)),
    release(),
    prepared(),
    rewrites(),
  ]
  const all = Promise.all(running)
  const failed = all.then(() => new Promise<never>(() => {}))
  failed.catch(() => {})
  return {
    failed,
    async stop() {
      on = false
      let done = false
      void all.finally(() => (done = true)).catch(() => {})
      while (!done) {
        await releaseSome(bed.pool, null)
        await Promise.race([all, pause(20)])
      }
      await all
    },
  }
}

async function releaseSome(sql: Sql, random: Random | null): Promise<void> {
  const waiting = await sql<{ pid: number }[]>`select pid from pg_stat_activity where wait_event = 'SyncRep'`
  for (const { pid } of waiting) if (random === null || random.chance(0.3)) await sql`select pg_cancel_backend(${pid})`
}

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

/**
 * Differences between what the replica holds and what Postgres says, by table. Rows without a key are counted as well:
 * two that differ in a column which the sync config leaves out are two objects that look the same, and how often each
 * is there only row state says.
 */
async function differences(replica: NodeReplica, sql: Sql): Promise<string[]> {
  const wanted: Record<string, string> = {
    docs: 'select k as id, n, body from docs',
    dups: `select a || ':' || b as id, a, b from dups group by a, b, filler`,
    parts: 'select id, part, t from parts',
  }
  const result: string[] = []
  for (const [type, statement] of Object.entries(wanted)) {
    const missing = new Map<string, number>()
    const add = (data: string, times: number) => missing.set(data, (missing.get(data) ?? 0) + times)
    for (const row of await sql.unsafe(statement)) add(JSON.stringify(row), 1)
    for (const { data } of replica.objects(type)) add(data, -1)
    for (const [data, times] of missing) {
      if (times !== 0) result.push(`${type} ${times > 0 ? 'lacks' : 'should not hold'} ${data.slice(0, 60)}`)
    }
  }
  const [counted] = await sql<{ rows: number }[]>`select count(*)::int as rows from dups`
  const copies = replica.copies('dups')
  if (copies !== counted?.rows) result.push(`dups has ${counted?.rows} rows, and ${copies} are counted`)
  return result
}

async function round(
  bed: Bed,
  seed: number,
  options: Partial<PostgresReplicaOptions> = {},
): Promise<{ wrong: string[]; reads: number; completions: number }> {
  const random = new Random(seed)
  await tables(bed.pool)
  const slot = `copy_${seed}`
  const replica = postgresReplica({ url: bed.postgres.url, slot, syncConfig, chunk: CHUNK, ...options })
  try {
    await replica.open()
    const running = load(bed, seed)
    try {
      await pause(100 + random.int(300))
      await Promise.race([replica.copy(), running.failed])
      await pause(random.int(200))
    } finally {
      await running.stop()
    }
    await replica.settle()
    return { wrong: await differences(replica, bed.pool), reads: replica.reads, completions: replica.completions }
  } finally {
    await replica.close()
    await bed.pool`select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active`
  }
}

describe.each(POSTGRES_VERSIONS)('Postgres %s', (version) => {
  let bed: Bed
  const rounds = Number(process.env.ROCKPOOL_ROUNDS ?? (version === 18 ? 8 : 3))

  beforeAll(async () => {
    const postgres = await startPostgres({ max_prepared_transactions: '10', max_connections: '60' }, { version })
    // Only now: making the database would wait for it.
    await postgres.sql()`alter system set synchronous_standby_names = 'ghost'`
    await postgres.sql()`select pg_reload_conf()`
    const connect = (setting: string) =>
      postgresClient(postgres.url, { max: 12, onnotice: () => {}, connection: { synchronous_commit: setting } })
    bed = { postgres, pool: connect('local'), waiting: connect('on') }
  })
  afterAll(async () => {
    await bed?.pool.end({ timeout: 1 })
    await bed?.waiting.end({ timeout: 1 })
    await bed?.postgres.stop()
  })

  test(`rows copied while others write, streamed before they are visible: ${rounds} rounds, no row differs`, async () => {
    let reads = 0
    let completions = 0
    for (let seed = 1; seed <= rounds; seed++) {
      const result = await round(bed, seed)
      expect(result.wrong, `seed ${seed}`).toEqual([])
      reads += result.reads
      completions += result.completions
    }
    // It was a copy in many chunks, and rows did lack values.
    expect(reads).toBeGreaterThan(rounds * 40)
    expect(completions).toBeGreaterThan(0)
  })

  test.runIf(version === 18)('without the barrier rows differ: the test above can fail', async () => {
    let wrong = 0
    // About one round in eight shows it.
    for (let seed = 101; seed <= 200 && wrong === 0; seed++)
      wrong += (await round(bed, seed, { barrier: async () => {} })).wrong.length
    expect(wrong).toBeGreaterThan(0)
  })
})
