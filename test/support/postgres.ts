import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import type { Sql } from 'postgres'
import { databaseOver, OVER_TLS, type OverTls } from './over-tls.ts'
import { DEFAULT_VERSION, PostgresServer, serverUser, type PostgresVersion } from './postgres-server.ts'

export { POSTGRES_VERSIONS, type PostgresVersion } from './postgres-server.ts'

export interface TestPostgres {
  readonly version: PostgresVersion
  /** The URL of the database `app`, as superuser. */
  readonly url: string
  readonly port: number
  /** The data folder, and that of `initdb`, `pg_ctl` and the like. */
  readonly data: string
  readonly binaries: string
  /** The end of the server's log. */
  readonly log: string
  /**
   * A connection pool for the test's own statements, as superuser. It reconnects after a restart, and is ended by
   * `stop`.
   */
  sql(): Sql
  /** Returns the URL of another role or database of this server. */
  urlOf(parts: { user?: string; password?: string; database?: string; query?: string }): string
  /** Ends connections, shuts the server down properly and starts it again on the same data. */
  restart(): Promise<void>
  /** Shuts the server down properly, until `startServer`. */
  stopServer(): Promise<void>
  /** Starts the server on the same data and port, also after `kill9`. Settings are added to the initial ones. */
  startServer(settings?: Record<string, string>): Promise<void>
  /** Crashes the server. `startServer` then recovers from the WAL. */
  kill9(): Promise<void>
  /**
   * Writes a file into the data folder (`pg_hba.conf`). It takes effect with `SELECT pg_reload_conf()` or a restart.
   */
  write(name: string, content: string): Promise<void>
  /** Copies the data folder as of a proper shutdown, for which the server is stopped and started again. */
  saveData(): Promise<SavedData>
  /** Restores a copy, as a host does with a disk snapshot, and starts the server on it. */
  restoreData(saved: SavedData): Promise<void>
  stop(): Promise<void>
}

/** The number of connections for a test's own statements. */
const POOL = 8

export interface SavedData {
  readonly path: string
}

export interface StartOptions {
  /** By default ROCKPOOL_POSTGRES, or 18 from npm. */
  version?: PostgresVersion
  /** Files that the data folder must have at the first start: `pg_hba.conf`, `server.crt`, `server.key`. */
  files?: Record<string, string>
  /**
   * The edge comes over TLS alone; `startEdge` is to be given the same. What the environment says unless the test has
   * files of its own.
   */
  overTls?: OverTls | null
}

/** Returns a port below those of outgoing connections, which might be taken between now and its use. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 18_000 + Math.floor(Math.random() * 14_000)
    const free = await new Promise<boolean>((resolve) => {
      const server = createServer()
      server.once('error', () => resolve(false))
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
    })
    if (free) return port
  }
}

/** Starts a real Postgres with logical WAL on a free port of the loopback interface, in a folder of its own. */
export async function startPostgres(
  settings: Record<string, string> = {},
  options: StartOptions = {},
): Promise<TestPostgres> {
  const version = options.version ?? DEFAULT_VERSION
  const { files, overTls = files ? null : OVER_TLS } = options
  const tls = overTls && databaseOver(overTls)
  const directory = await mkdtemp(join(tmpdir(), 'rockpool-postgres-'))
  // Run as root, the server runs as the user `postgres`, who must be able to enter.
  await chmod(directory, 0o755)
  const port = await freePort()
  const all: Record<string, string> = {
    wal_level: 'logical',
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    fsync: 'off',
    max_wal_senders: '10',
    max_replication_slots: '10',
    ...tls?.settings,
    ...settings,
  }
  const server = new PostgresServer(version, join(directory, 'data'), await serverUser())
  await server.initialise('postgres')
  for (const [name, content] of Object.entries({ ...tls?.files, ...files })) await server.write(name, content)
  await server.start(port, all)
  const urlOf: TestPostgres['urlOf'] = ({ user = 'postgres', password = 'postgres', database = 'app', query = '' }) =>
    `postgres://${user}:${password}@127.0.0.1:${port}/${database}${query === '' ? '' : `?${query}`}`
  const maintenance = postgres(urlOf({ database: 'postgres' }), { max: 1, onnotice: () => {} })
  await maintenance`CREATE DATABASE app`
  if (tls) await maintenance.unsafe(tls.statement)
  await maintenance.end({ timeout: 1 })
  const sql = postgres(urlOf({}), { max: POOL, onnotice: () => {} })
  const start = async (more: Record<string, string> = {}) => {
    await server.start(port, Object.assign(all, more))
    // A connection of the pool may not have noticed yet that its server has gone, and no test should get it.
    for (let tries = 0; tries < 100; tries++) {
      const answers = await Promise.allSettled(Array.from({ length: POOL }, () => sql`SELECT 1`))
      if (answers.every((answer) => answer.status === 'fulfilled')) return
    }
    throw new Error(`Postgres does not answer:\n${server.log}`)
  }
  let saved = 0
  return {
    version,
    url: urlOf({}),
    port,
    data: server.data,
    binaries: server.binaries,
    get log() {
      return server.log
    },
    sql: () => sql,
    urlOf,
    async restart() {
      await server.stop('SIGINT')
      await start()
    },
    stopServer: () => server.stop('SIGINT'),
    startServer: start,
    kill9: () => server.stop('SIGKILL'),
    write: (name, content) => server.write(name, content),
    async saveData() {
      const path = join(directory, `saved-${++saved}`)
      await server.stop('SIGINT')
      await server.copy(server.data, path)
      await start()
      return { path }
    },
    async restoreData({ path }) {
      await server.stop('SIGINT')
      await server.copy(path, server.data)
      await start()
    },
    async stop() {
      await sql.end({ timeout: 1 })
      // Stops at once, because a proper shutdown waits until the clients of walsenders have confirmed everything.
      await server.stop('SIGQUIT')
      await rm(directory, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

/**
 * Drops the slot of Rockpool, however often it is taken again. One that is being made is waited for: who is ended while
 * making it tries again later and later.
 */
export async function dropSlot(sql: Sql): Promise<void> {
  await sql.unsafe(`do $$ begin
    loop
      perform pg_terminate_backend(active_pid) from pg_replication_slots
        where slot_name = 'rockpool' and active and confirmed_flush_lsn is not null;
      begin
        perform pg_drop_replication_slot('rockpool');
        exit;
      exception when object_in_use or undefined_object then perform pg_sleep(0.005);
      end;
    end loop; end $$`)
}
