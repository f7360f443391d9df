import { setTimeout } from 'node:timers/promises'
import postgresJs from 'postgres'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { DiagnosticCode } from '../../protocol/diagnostics.ts'
import type { ReplicatorStatus } from '../../protocol/messages/status.ts'
import { DocsClient } from '../support/docs-client.ts'
import { dropSlot, startPostgres, type TestPostgres } from '../support/postgres.ts'
import { DEFAULT_VERSION } from '../support/postgres-server.ts'
import { startProxy, type Proxy } from '../support/proxy.ts'

// What happens to the replication slot and to the way to it, and what clients hold afterwards.
// The file is long because everything that can happen to a slot happens to one deployment.

const MB = 1024 ** 2
let postgres: TestPostgres
let docs: DocsClient
let proxy: Proxy

beforeAll(async () => {
  postgres = await startPostgres({
    wal_sender_timeout: '4s',
    max_slot_wal_keep_size: '160MB',
    min_wal_size: '32MB',
    max_wal_size: '64MB',
    autovacuum: 'off',
  })
  await postgres.sql()`create table other (id serial, v text)`
})
afterAll(() => postgres?.stop())
beforeEach(async () => {
  proxy = await startProxy(postgres.port)
  docs = new DocsClient(postgres)
  await docs.prepare(50)
})
afterEach(async () => {
  await docs?.dispose()
  await proxy?.close()
})

const throughProxy = () => postgres.url.replace(`:${postgres.port}/`, `:${proxy.port}/`)
const counts = ({ diagnostics }: ReplicatorStatus, ...codes: DiagnosticCode[]) =>
  codes.map((code) => diagnostics.counts[code] ?? 0)
const reasons = ({ diagnostics }: ReplicatorStatus, code: DiagnosticCode) =>
  diagnostics.recent.filter((each) => each.code === code).map((each) => each.reason)

async function startLive(options: Parameters<DocsClient['start']>[0] = {}): Promise<ReplicatorStatus> {
  await docs.start(options)
  await docs.connect()
  await docs.exact()
  return docs.until('a live tenant', ({ state }) => state === 'live')
}
/** WAL of tables that nobody follows. */
async function writeWal(megabytes: number): Promise<void> {
  const sql = postgres.sql()
  for (let i = 0; i < megabytes / 10; i++)
    await sql`insert into other (v) select repeat(md5(n::text), 32) from generate_series(1, 9000) n`
  await sql`truncate other`
}
async function untilFree(): Promise<void> {
  while ((await postgres.sql()`select 1 from pg_replication_slots where active`).length > 0) await setTimeout(20)
}

describe('the server', () => {
  test('kill -9 of Postgres after acknowledgements: no resync, nothing twice', async () => {
    const before = await startLive()
    const sql = postgres.sql()
    await sql`checkpoint`
    for (let n = 1; n <= 30; n++) await sql`insert into docs values (${1000 + n})`
    await docs.until('the rows', ({ checkpoint }) => checkpoint === before.checkpoint + 30)
    await postgres.kill9()
    await postgres.startServer()
    await sql`insert into docs values (2000)`
    await docs.exact()
    const after = await docs.status()
    expect(after.checkpoint - before.checkpoint).toBe(31)
    expect(counts(after, 'ROCKPOOL_RESYNC', 'ROCKPOOL_SLOT_LOST')).toEqual([0, 0])
  })

  test('a disk copy put back while it runs: everything is compared, clients go back with it, and it is told', async () => {
    const before = await startLive()
    const saved = await postgres.saveData()
    const sql = postgres.sql()
    await sql`insert into docs select n from generate_series(1001, 1010) n`
    await sql`delete from docs where id <= 5`
    await docs.exact()
    await postgres.restoreData(saved)
    await sql`update docs set n = 1 where id = 7`
    await docs.exact()
    const after = await docs.until('a live tenant', ({ state }) => state === 'live')
    expect(counts(after, 'ROCKPOOL_RESYNC')).toEqual([1])
    expect(reasons(after, 'ROCKPOOL_RESYNC')[0]).toMatch(
      /everything is compared again: .*(older state|not the one that was stored|did not come again)/,
    )
    // 10 rows come and go, 5 go and come, one changes: nothing that is equal has an op.
    expect(after.checkpoint - before.checkpoint).toBe(10 + 5 + 10 + 5 + 1)
  })
})

describe('the slot', () => {
  test('dropped while it is used', async () => {
    await startLive()
    const sql = postgres.sql()
    await dropSlot(sql)
    await sql`insert into docs values (1000)`
    await docs.exact()
    const after = await docs.status()
    expect(counts(after, 'ROCKPOOL_RESYNC', 'ROCKPOOL_SLOT_LOST')).toEqual([1, 1])
    expect(reasons(after, 'ROCKPOOL_SLOT_LOST')).toEqual(['rockpool: the slot was missing'])
  })

  test('read by a stranger between two sessions', async () => {
    await startLive()
    await docs.stop()
    await untilFree()
    const sql = postgres.sql()
    await sql`delete from docs where id <= 10`
    await sql`select pg_replication_slot_advance('rockpool', pg_current_wal_lsn())`
    await docs.start()
    await docs.exact()
    const after = await docs.status()
    expect(counts(after, 'ROCKPOOL_RESYNC', 'ROCKPOOL_SLOT_LOST')).toEqual([1, 0])
    expect(reasons(after, 'ROCKPOOL_RESYNC')[0]).toMatch(/somebody else has read the slot/)
  })

  test('invalidated while it is used, because nothing could be read: found out before it is used again', async () => {
    await startLive({ databaseUrl: throughProxy() })
    proxy.stall()
    const sql = postgres.sql()
    await sql`delete from docs where id <= 10`
    await writeWal(400)
    await sql`checkpoint`
    expect((await sql`select wal_status from pg_replication_slots`)[0]?.wal_status).toBe('lost')
    proxy.resume()
    // What had been sent before it was lost may still come.
    await docs.until('the loss to be noticed', (status) => counts(status, 'ROCKPOOL_SLOT_LOST')[0] === 1)
    await docs.exact()
    const after = await docs.until('a live tenant', ({ state }) => state === 'live')
    expect(counts(after, 'ROCKPOOL_RESYNC', 'ROCKPOOL_SLOT_LOST')).toEqual([1, 1])
    const why = ' (wal_removed: it kept more WAL than max_slot_wal_keep_size allows)'
    // 17 and newer say it.
    expect(reasons(after, 'ROCKPOOL_SLOT_LOST')).toEqual([
      `rockpool: Postgres invalidated the slot${postgres.version < 17 ? '' : why}`,
    ])
    // It was never "refused": that would say that somebody must do something.
    expect(counts(after, 'ROCKPOOL_SOURCE_SETTINGS')).toEqual([0])
  })

  test('used by somebody else who is alive: he is named, and it goes on when he is gone', async () => {
    await startLive()
    await docs.stop()
    await untilFree()
    const other = new DocsClient(postgres)
    try {
      await other.start()
      await other.until('the other one', ({ state }) => state === 'live' || state === 'idle')
      await other.connect()
      await docs.start()
      const taken = await docs.until('a refusal', ({ error }) => error?.code === 'ROCKPOOL_SLOT_TAKEN')
      expect(taken.state).toBe('retrying')
      expect(taken.error?.message).toMatch(/pid \d+, role (postgres|edge), application_name "rockpool-[0-9a-f]{28}"/)
      await other.exact()
    } finally {
      await other.dispose()
    }
    await postgres.sql()`insert into docs values (1000)`
    await docs.exact()
  })
})

describe('the way to it', () => {
  test('a session that the server believes in after we are gone is ended, and nothing is compared', async () => {
    const sql = postgres.sql()
    // On a busy machine the server would find out by itself before the next session comes.
    await sql`alter role all set wal_sender_timeout = '60s'`
    try {
      const before = await startLive({ databaseUrl: throughProxy() })
      proxy.abandon()
      await docs.edge.kill9()
      await sql`insert into docs values (1000)`
      await docs.exact()
      const after = await docs.until('a live tenant', ({ state }) => state === 'live')
      expect(after.checkpoint - before.checkpoint).toBe(1)
      expect(counts(after, 'ROCKPOOL_SLOT_FREED', 'ROCKPOOL_RESYNC')).toEqual([1, 0])
    } finally {
      await sql`alter role all reset wal_sender_timeout`
    }
  })

  test('a socket that passes nothing on any more is given up, and nothing is lost', async () => {
    const before = await startLive({ databaseUrl: throughProxy() })
    proxy.stall()
    await postgres.sql()`insert into docs values (1000)`
    const silent = await docs.until('the session to end', ({ error }) => error !== null)
    expect([silent.state, silent.error?.code]).toEqual(['retrying', 'ROCKPOOL_SOURCE_UNREACHABLE'])
    proxy.resume()
    await docs.exact()
    const after = await docs.until('a live tenant', ({ state }) => state === 'live')
    expect(after.checkpoint - before.checkpoint).toBe(1)
    expect(counts(after, 'ROCKPOOL_RESYNC')).toEqual([0])
  })
})

describe('WAL', () => {
  test('70 MB of tables and of a database that nobody follows move the slot on', async () => {
    await startLive()
    const sql = postgres.sql()
    const kept = async () =>
      Number(
        (
          await sql`select pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn) as lag from pg_replication_slots`
        )[0]?.lag,
      )
    const before = await docs.status()
    await writeWal(70)
    while ((await kept()) > 20 * MB) await setTimeout(50)
    const between = await docs.status()
    await sql`create database elsewhere`
    const url = postgres.urlOf({ database: 'elsewhere' })
    const elsewhere = postgresJs(url, { max: 1 })
    await elsewhere`create table t (v text)`
    for (let i = 0; i < 8; i++)
      await elsewhere`insert into t select repeat(md5(n::text), 32) from generate_series(1, 9000) n`
    await elsewhere.end()
    await sql`drop database elsewhere`
    while ((await kept()) > 20 * MB) await setTimeout(50)
    const after = await docs.status()
    expect([between.checkpoint, after.checkpoint]).toEqual([before.checkpoint, before.checkpoint])
    expect(after.lsn).not.toBe(before.lsn)
  })

  test('what the slot keeps is shown, told when it is much, and with the policy `keep` nothing else happens', async () => {
    const bindings = { WAL_KEEP_GB: '0.08', WAL_CHECK_SECONDS: '1', IDLE_POLL_SECONDS: '3600' }
    const live = await startLive({ bindings })
    expect(live.slot).toMatchObject({ name: 'rockpool', level: 'ok', walStatus: 'reserved', maxKeepBytes: 160 * MB })
    await docs.stop()
    await untilFree()
    await postgres.sql()`delete from docs where id <= 10`
    await writeWal(100)
    await docs.start({ bindings })
    await docs.exact()
    const after = await docs.until('the slot to be read', ({ slot }) => slot?.level === 'ok')
    expect(counts(after, 'ROCKPOOL_WAL_KEPT', 'ROCKPOOL_WAL_DROPPED', 'ROCKPOOL_RESYNC')).toEqual([1, 0, 0])
    expect(reasons(after, 'ROCKPOOL_WAL_KEPT')[0]).toMatch(
      /^the slot keeps \d+ MB of WAL .*more than WAL_KEEP_GB \(0.08 GB\)/,
    )
  })

  test('with the policy `drop-and-resync` a slot that keeps more than allowed is dropped, and everything is compared', async () => {
    const bindings = { WAL_KEEP_GB: '0.08', WAL_POLICY: 'drop-and-resync' }
    const before = await startLive({ bindings })
    await docs.stop()
    await untilFree()
    const sql = postgres.sql()
    await sql`delete from docs where id <= 10`
    await writeWal(100)
    await docs.start({ bindings })
    await docs.exact()
    const after = await docs.until('a live tenant', ({ state }) => state === 'live')
    expect(counts(after, 'ROCKPOOL_WAL_DROPPED', 'ROCKPOOL_RESYNC', 'ROCKPOOL_SLOT_LOST')).toEqual([1, 1, 0])
    expect(reasons(after, 'ROCKPOOL_RESYNC')[0]).toMatch(/the slot was dropped, because it kept too much WAL/)
    expect(after.checkpoint - before.checkpoint).toBe(10)
    expect(after.slot?.retainedBytes).toBeLessThan(20 * MB)
  })

  test('the same when the script comes with a sync config that has a mistake: the one before goes on', async () => {
    const bindings = { WAL_KEEP_GB: '0.08', WAL_POLICY: 'drop-and-resync' }
    await startLive({ bindings })
    await docs.stop()
    await untilFree()
    const sql = postgres.sql()
    await sql`delete from docs where id <= 10`
    await writeWal(100)
    await docs.start({
      bindings,
      syncConfig: 'bucket_definitions:\n  all:\n    data:\n      - SELECT id FROM docs WHERE\n',
    })
    await docs.until('the slot to be dropped', (status) => counts(status, 'ROCKPOOL_WAL_DROPPED')[0] === 1)
    await docs.exact()
    await sql`delete from docs where id <= 20`
    await docs.exact()
    const status = await docs.status()
    expect(status.deploy.failed?.error?.code).toBe('ROCKPOOL_SYNC_CONFIG')
    expect(reasons(status, 'ROCKPOOL_SYNC_CONFIG')[0]).toMatch(/^the sync config has errors: 4:/)
    expect(counts(status, 'ROCKPOOL_WAL_DROPPED', 'ROCKPOOL_RESYNC')).toEqual([1, 1])
  })

  test('what the slot keeps is measured while a copy goes on, or waits', async () => {
    const bindings = { WAL_KEEP_GB: '0.08', WAL_CHECK_SECONDS: '1' }
    await startLive({ bindings })
    const sql = postgres.sql()
    const open = await sql.reserve()
    await open`begin`
    await open`select pg_current_xact_id()`
    await sql`alter table docs add column note text default 'x'`
    await docs.until('a copy that waits', ({ copy }) => copy?.waitingFor != null)
    await writeWal(100)
    const copying = await docs.until('it to be told', (status) => counts(status, 'ROCKPOOL_WAL_KEPT')[0] === 1)
    expect(copying.copy?.waitingFor).toMatch(/transaction/)
    await open`commit`
    open.release()
    await docs.exact()
  })

  test('the same while it runs, when a transaction that stays open keeps the WAL', async () => {
    const bindings = { WAL_KEEP_GB: '0.08', WAL_POLICY: 'drop-and-resync', WAL_CHECK_SECONDS: '1' }
    await startLive({ bindings })
    const sql = postgres.sql()
    const open = await sql.reserve()
    await open`begin`
    await open`insert into docs values (1000)`
    await writeWal(100)
    const waiting = await docs.until(
      'the slot to be dropped',
      (status) => counts(status, 'ROCKPOOL_WAL_DROPPED')[0] === 1,
    )
    expect(waiting.state).not.toBe('refused')
    await open`commit`
    open.release()
    await docs.exact()
    const after = await docs.until('a live tenant', ({ state }) => state === 'live')
    expect(counts(after, 'ROCKPOOL_WAL_DROPPED', 'ROCKPOOL_RESYNC')).toEqual([1, 1])
  })
})

test.skipIf(DEFAULT_VERSION < 18)('idle_replication_slot_timeout is told, and polls come in time for it', async () => {
  const sql = postgres.sql()
  await sql`alter system set idle_replication_slot_timeout = '20min'`
  await sql`select pg_reload_conf()`
  try {
    await docs.start({ bindings: { IDLE_POLL_SECONDS: '7200' } })
    const idle = await docs.until('an idle tenant', ({ state, session }) => state === 'idle' && session.next !== null)
    expect(reasons(idle, 'ROCKPOOL_SLOT_TIMEOUT')[0]).toMatch(/^idle_replication_slot_timeout is 1200 s/)
    // Half of it, not two hours.
    const wait = Date.parse(idle.session.next ?? '') - Date.parse(idle.slot?.measured ?? '')
    expect(wait).toBeLessThan(1_200_000)
  } finally {
    await sql`alter system reset idle_replication_slot_timeout`
    await sql`select pg_reload_conf()`
  }
})
