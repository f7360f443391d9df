import { setTimeout } from 'node:timers/promises'
import type { Sql } from 'postgres'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { RockpoolError } from '../../../protocol/errors.ts'
import { POSTGRES_VERSIONS, startPostgres, type TestPostgres } from '../../../test/support/postgres.ts'
import { startProxy, type Proxy } from '../../../test/support/proxy.ts'
import {
  connectSource,
  dropSlot,
  emitMarker,
  lookAtSource,
  measureSlot,
  openReplication,
  prepareSource,
  type SlotHolder,
} from '../index.ts'

describe.each(POSTGRES_VERSIONS)('Postgres %i', (version) => {
  let postgres: TestPostgres
  let proxy: Proxy
  let source: Sql
  const opened: Sql[] = []
  const names = [{ schema: 'public', name: 't' }]
  const ours = 'rockpool-1'

  beforeAll(async () => {
    postgres = await startPostgres({ wal_sender_timeout: '4s' }, { version })
    await postgres.sql()`create table t (id int primary key, v text)`
  })
  afterAll(async () => {
    await postgres?.stop()
  })
  beforeEach(async () => {
    proxy = await startProxy(postgres.port)
    source = connect()
  })
  afterEach(async () => {
    await proxy.close()
    await Promise.all(opened.splice(0).map((sql) => sql.end({ timeout: 0 })))
    const sql = postgres.sql()
    await sql`select pg_terminate_backend(active_pid) from pg_replication_slots where active`
    await until(async () => (await sql`select 1 from pg_replication_slots where active`).length === 0)
    await sql`select pg_drop_replication_slot(slot_name) from pg_replication_slots`
    await sql`truncate t`
  })

  function connect(options: { url?: string; replication?: boolean; applicationName?: string } = {}): Sql {
    const sql = connectSource(options.url ?? postgres.url, { applicationName: ours, ...options })
    opened.push(sql)
    return sql
  }
  async function until(probe: () => Promise<boolean>): Promise<void> {
    while (!(await probe())) await setTimeout(20)
  }
  const throughProxy = () => postgres.url.replace(`:${postgres.port}/`, `:${proxy.port}/`)

  async function stream(
    options: { url?: string; applicationName?: string; freed?: (holder: SlotHolder) => void; slot?: string } = {},
  ) {
    const slot = options.slot ?? 's'
    const prepared = await prepareSource(source, { slot, tables: names })
    const received = { inserts: 0 }
    const streaming = connect({ ...options, replication: true })
    const { publication, walSenderTimeoutMs } = prepared
    const { freed } = options
    const replication = await openReplication(
      streaming,
      { slot, publication, walSenderTimeoutMs, ...(freed ? { freed } : {}) },
      { message: (message) => void (message.type === 'insert' && received.inserts++), keepalive: () => {} },
    )
    return { replication, received }
  }
  const holder = async () =>
    Number(
      (await postgres.sql()`select active_pid as pid from pg_replication_slots where slot_name = 's'`)[0]?.pid ?? 0,
    )

  describe('a slot that is held', () => {
    test('by a dead session of ours: it is ended, and we go on', async () => {
      const first = await stream({ url: throughProxy() })
      const pid = await holder()
      proxy.abandon()
      const freed: SlotHolder[] = []
      const second = await stream({ freed: (by) => freed.push(by) })
      expect(freed).toMatchObject([{ pid, role: 'postgres', application: ours, ours: true }])
      expect(await holder()).not.toBe(pid)
      await postgres.sql()`insert into t values (1)`
      await until(async () => second.received.inserts === 1)
      await expect(first.replication.ended).rejects.toThrow(RockpoolError)
      await second.replication.close()
    })

    test('by somebody else: he is left alone and named', async () => {
      const other = await stream({ applicationName: 'debezium' })
      const pid = await holder()
      const refused = await stream().then(
        () => null,
        (error: unknown) => error,
      )
      expect(refused).toMatchObject({ code: 'ROCKPOOL_SLOT_TAKEN' })
      expect(String(refused)).toMatch(
        new RegExp(`pid ${pid}, role postgres, application_name "debezium".*pg_terminate_backend\\(${pid}\\)`),
      )
      await expect(dropSlot(source, 's')).rejects.toMatchObject({ code: 'ROCKPOOL_SLOT_TAKEN' })
      await expect(lookAtSource(source, 's')).rejects.toMatchObject({ code: 'ROCKPOOL_SLOT_TAKEN' })
      expect(await lookAtSource(source, 'none')).toMatchObject({ slot: null, serverVersion: expect.any(Number) })
      expect(await holder()).toBe(pid)
      await other.replication.close()
    })
  })

  test('a slot that a session of ours holds which does not end: it is told as ours, not as somebody else', async () => {
    const first = await stream()
    const pid = await holder()
    process.kill(pid, 'SIGSTOP')
    try {
      const refused = await stream().then(
        () => null,
        (error: unknown) => error,
      )
      expect(refused).toMatchObject({ code: 'ROCKPOOL_SOURCE_UNREACHABLE' })
      expect(String(refused)).toMatch(
        new RegExp(`an earlier session of this Rockpool \\(pid ${pid}\\) still holds the replication slot s`),
      )
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    await first.replication.ended.catch(() => {})
  })

  test('a marker over a connection that is lost: the source cannot be reached', async () => {
    const sql = connect({ url: throughProxy() })
    await emitMarker(sql, 'm', 'x')
    const [row] = await sql<{ pid: number }[]>`select pg_backend_pid() as pid`
    const marks = async () => {
      for (;;) await emitMarker(sql, 'm', 'x')
    }
    const lost = marks()
    lost.catch(() => {})
    await postgres.sql()`select pg_terminate_backend(${row?.pid ?? 0})`
    await expect(lost).rejects.toMatchObject({ code: 'ROCKPOOL_SOURCE_UNREACHABLE' })
  })

  describe('a server that is not heard', () => {
    test('a proxy that passes nothing on any more ends the session, and the server lets go of the slot', async () => {
      const { replication } = await stream({ url: throughProxy() })
      await emitMarker(source, 'm', 'x')
      proxy.stall()
      await expect(replication.ended).rejects.toMatchObject({
        code: 'ROCKPOOL_SOURCE_UNREACHABLE',
        message: expect.stringMatching(/has not answered for 4 s/),
      })
      await until(async () => (await holder()) === 0)
    })

    test('one that is only quiet is asked, answers, and is not given up', async () => {
      const { replication, received } = await stream()
      const end = replication.ended.then(
        () => 'closed',
        (error: unknown) => String(error),
      )
      expect(await Promise.race([end, setTimeout(9_000, 'open')])).toBe('open')
      await postgres.sql()`insert into t values (1)`
      await until(async () => received.inserts === 1)
      await replication.close()
    })
  })

  describe('what a slot keeps', () => {
    test('is measured, and a slot that Postgres has invalidated says why', async () => {
      await postgres.stopServer()
      await postgres.startServer({ max_slot_wal_keep_size: '48MB', min_wal_size: '32MB', max_wal_size: '64MB' })
      const sql = postgres.sql()
      await prepareSource(source, { slot: 's', tables: names })
      const fresh = await measureSlot(source, 's')
      expect(fresh).toMatchObject({ walStatus: 'reserved', maxKeepBytes: 48 * 1024 ** 2 })
      expect(fresh?.retainedBytes).toBeLessThan(1024 ** 2)
      expect(await measureSlot(source, 'none')).toBeNull()
      const write = async (megabytes: number) => {
        await sql`insert into t select 1000000 * ${megabytes} + n, repeat(md5(n::text), 32) from generate_series(1, ${megabytes * 1_000}::int) n`
        await sql`delete from t`
      }
      await write(20)
      const some = await measureSlot(source, 's')
      expect(some?.retainedBytes).toBeGreaterThan(20 * 1024 ** 2)
      expect(some?.lagBytes).toBeGreaterThan(20 * 1024 ** 2)
      expect(some?.safeWalBytes ?? 0).toBeLessThan(fresh?.safeWalBytes ?? 0)
      await write(100)
      await sql`checkpoint`
      expect(await measureSlot(source, 's')).toMatchObject({ walStatus: 'lost' })
      const { slot } = await prepareSource(source, { slot: 's', tables: names })
      // Before 17 it does not say why.
      const why = version >= 17 ? ' (wal_removed: it kept more WAL than max_slot_wal_keep_size allows)' : ''
      expect(slot).toMatchObject({ created: false, lost: `Postgres invalidated the slot${why}` })
      // Not "somebody must do something": the next look finds out what is the matter.
      await expect(stream()).rejects.toMatchObject({ code: 'ROCKPOOL_SOURCE_UNREACHABLE' })
      await dropSlot(source, 's')
      expect((await prepareSource(source, { slot: 's', tables: names })).slot).toMatchObject({
        created: true,
        lost: null,
      })
    })
  })
})
