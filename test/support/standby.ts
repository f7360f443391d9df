import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres, { type Sql } from 'postgres'
import { freePort, type TestPostgres } from './postgres.ts'
import { PostgresServer, serverUser } from './postgres-server.ts'
import { until } from './support.ts'

/** A hot standby of a primary, as hosts have for failover. */
export interface Standby {
  readonly port: number
  /** A connection pool for the test's own statements, as superuser. */
  sql(): Sql
  /** Makes it the primary. */
  promote(): Promise<void>
  /** Makes it unreachable, like a broken network, until `resume`. */
  pause(): Promise<void>
  resume(): Promise<void>
  stop(): Promise<void>
}

/** The standby's slot on the primary, which keeps its WAL. */
export const STANDBY_SLOT = 'standby'

/**
 * Starts a standby on a copy of the primary's data (the npm package has no pg_basebackup). The primary is stopped for
 * the copy and started again. `settings` are those of the standby; `sync_replication_slots` and `hot_standby_feedback`
 * are on by default.
 */
export async function startStandby(primary: TestPostgres, settings: Record<string, string> = {}): Promise<Standby> {
  const directory = await mkdtemp(join(tmpdir(), 'rockpool-standby-'))
  await chmod(directory, 0o755)
  await primary.sql()`SELECT pg_create_physical_replication_slot(${STANDBY_SLOT}, true)`
  const saved = await primary.saveData()
  const server = new PostgresServer(primary.version, join(directory, 'data'), await serverUser())
  await server.copy(saved.path, server.data)
  await server.write('standby.signal', '')
  const port = await freePort()
  const all = {
    wal_level: 'logical',
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    fsync: 'off',
    max_wal_senders: '10',
    max_replication_slots: '10',
    hot_standby_feedback: 'on',
    ...(primary.version >= 17 ? { sync_replication_slots: 'on' } : {}),
    primary_slot_name: STANDBY_SLOT,
    primary_conninfo: `host=127.0.0.1 port=${primary.port} user=postgres password=postgres dbname=app application_name=${STANDBY_SLOT}`,
    ...settings,
  }
  await server.start(port, all)
  const sql = postgres(`postgres://postgres:postgres@127.0.0.1:${port}/app`, { max: 4, onnotice: () => {} })
  return {
    port,
    sql: () => sql,
    async promote() {
      await sql`SELECT pg_promote()`
      await until(
        'the promotion',
        async () => (await sql`SELECT pg_is_in_recovery() AS standby`)[0]?.standby === false,
        60,
      )
    },
    pause: () => server.stop('SIGQUIT'),
    resume: () => server.start(port, all),
    async stop() {
      await sql.end({ timeout: 1 })
      await server.stop('SIGQUIT')
      await rm(directory, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}
