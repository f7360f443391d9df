import type { Sql } from 'postgres'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { PostgresServer, serverUser } from '../../test/support/postgres-server.ts'
import { freePort, POSTGRES_VERSIONS, startPostgres, type TestPostgres } from '../../test/support/postgres.ts'
import { checkServer, connectSource, openReplication, prepareSource } from './index.ts'

// How Postgres must be configured, and what is reported when it is not.

describe.each(POSTGRES_VERSIONS)('Postgres %i', (version) => {
  let postgres: TestPostgres
  const opened: Sql[] = []
  beforeAll(async () => {
    postgres = await startPostgres({ max_replication_slots: '2', max_wal_senders: '1' }, { version })
    await postgres.sql()`create table t (id int primary key)`
  })
  afterAll(() => postgres?.stop())
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((sql) => sql.end({ timeout: 0 })))
  })
  const connect = (options: { url?: string; replication?: boolean; applicationName?: string } = {}): Sql => {
    const sql = connectSource(options.url ?? postgres.url, options)
    opened.push(sql)
    return sql
  }
  const names = [{ schema: 'public', name: 't' }]
  const refusal = async (work: Promise<unknown>): Promise<string> =>
    work.then(
      () => 'it was not refused',
      (error: unknown) =>
        error instanceof Error && 'code' in error ? `${String(error.code)}: ${error.message}` : String(error),
    )
  /** `ALTER SYSTEM`, until the work is done. */
  async function withSetting<T>(name: string, value: string, work: () => Promise<T>): Promise<T> {
    const sql = postgres.sql()
    const apply = async () => {
      await sql`select pg_reload_conf()`
      // A reload is noticed by a backend before its next command.
      await sql.unsafe(`show ${name}`)
    }
    await sql.unsafe(`alter system set ${name} = ${value}`)
    await apply()
    try {
      return await work()
    } finally {
      await sql.unsafe(`alter system reset ${name}`)
      await apply()
    }
  }

  test('a configured server is accepted, and reports what sessions need to know', async () => {
    const server = await checkServer(connect())
    expect(server).toMatchObject({
      identity: { database: 'app', timeline: 1 },
      walSenderTimeoutMs: 60_000,
      slotTimeoutMs: 0,
    })
    expect(Math.floor(server.serverVersion / 10_000)).toBe(version)
  })

  test('all replication slots in use: which ones, and what to do', async () => {
    const sql = postgres.sql()
    await sql`select pg_create_logical_replication_slot('first', 'pgoutput'), pg_create_physical_replication_slot('second')`
    const why = await refusal(prepareSource(connect(), { slot: 's', tables: names }))
    expect(why).toMatch(
      /^ROCKPOOL_SOURCE_SETTINGS: all 2 replication slots are in use: raise max_replication_slots .* \(first \(unused\), second \(unused\)\)$/,
    )
    await sql`select pg_drop_replication_slot(slot_name) from pg_replication_slots`
  })

  test('all walsenders in use', async () => {
    const { publication } = await prepareSource(connect(), { slot: 's', tables: names })
    await prepareSource(connect(), { slot: 's2', tables: names })
    const handlers = { message: () => {}, keepalive: () => {} }
    const first = await openReplication(
      connect({ replication: true }),
      { slot: 's', publication, walSenderTimeoutMs: 0 },
      handlers,
    )
    const second = openReplication(
      connect({ replication: true }),
      { slot: 's2', publication, walSenderTimeoutMs: 0 },
      handlers,
    )
    expect(await refusal(second)).toMatch(/^ROCKPOOL_SOURCE_SETTINGS: all walsenders are in use: raise max_wal_senders/)
    await first.close()
    const sql = postgres.sql()
    while ((await sql`select 1 from pg_replication_slots where active`).length > 0);
    await sql`select pg_drop_replication_slot(slot_name) from pg_replication_slots`
  })

  test.each([["'*'"], ["'ANY 1 (a, *)'"], ['\'a, "rockpool-7"\''], ['\'FIRST 1 ("Rockpool-7", b)\'']])(
    'synchronous_standby_names = %s: commits would wait for us',
    async (value) => {
      const why = await withSetting('synchronous_standby_names', value, () =>
        refusal(checkServer(connect({ applicationName: 'rockpool-7' }))),
      )
      expect(why).toMatch(
        /^ROCKPOOL_SOURCE_SETTINGS: synchronous_standby_names names '.*': name the standbys instead$|so the application's commits would wait/,
      )
    },
  )

  test('a list that names only another standby is not a problem', async () => {
    expect(await withSetting('synchronous_standby_names', "'ghost'", () => refusal(checkServer(connect())))).toBe(
      'it was not refused',
    )
  })

  test.runIf(version >= 18)('idle_replication_slot_timeout is known', async () => {
    const server = await withSetting('idle_replication_slot_timeout', "'30min'", () => checkServer(connect()))
    expect(server.slotTimeoutMs).toBe(30 * 60_000)
  })

  test('a role that may not replicate', async () => {
    await postgres.sql()`create role plain login password 'x'`
    const sql = connect({ url: postgres.urlOf({ user: 'plain', password: 'x' }) })
    expect(await refusal(checkServer(sql))).toMatch(
      /^ROCKPOOL_SOURCE_SETTINGS: the role plain may not replicate: ALTER ROLE plain REPLICATION/,
    )
  })

  test('a replica', async () => {
    const saved = await postgres.saveData()
    const replica = new PostgresServer(version, saved.path, await serverUser())
    await replica.write('standby.signal', '')
    const port = await freePort()
    await replica.start(port, {
      wal_level: 'logical',
      listen_addresses: '127.0.0.1',
      unix_socket_directories: '',
      max_wal_senders: '1',
    })
    try {
      const sql = connect({ url: postgres.url.replace(`:${postgres.port}/`, `:${port}/`) })
      expect(await refusal(checkServer(sql))).toMatch(/^ROCKPOOL_SOURCE_SETTINGS: the database URL names a replica/)
    } finally {
      await replica.stop('SIGINT')
    }
  })

  test.each([
    [
      'wal_level',
      'replica',
      /wal_level is replica, it must be logical: ALTER SYSTEM SET wal_level = logical, then restart/,
    ],
    ['max_replication_slots', '0', /max_replication_slots is 0: ALTER SYSTEM SET max_replication_slots = 10/],
  ])('%s = %s', async (name, value, message) => {
    const settings = { wal_level: 'logical', max_replication_slots: '2' }
    await postgres.stopServer()
    await postgres.startServer({ [name]: value })
    try {
      expect(await refusal(checkServer(connect()))).toMatch(message)
    } finally {
      await postgres.stopServer()
      await postgres.startServer(settings)
    }
  })
})
