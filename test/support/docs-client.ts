import { openSync, type SyncDatabase } from '@rockpool/client/node'
import type { ReplicatorStatus } from '../../protocol/messages/status.ts'
import { startEdge, type Edge } from './edge.ts'
import { freePort, type TestPostgres } from './postgres.ts'
import { statusOf } from './status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from './support.ts'

export interface Doc {
  id: string
  n: number
}

export interface DocsOptions {
  /** The database URL of the edge. By default it connects directly. */
  databaseUrl?: string
  bindings?: Record<string, string>
  /** By default all rows of table `docs` are in one bucket. */
  syncConfig?: string
}

/**
 * An edge over a database with the table `docs (id int, n int)`, and a client of it. Both keep their data across
 * restarts.
 */
export class DocsClient {
  readonly secret = newSecret()
  readonly #postgres: Pick<TestPostgres, 'sql' | 'url'>
  #directory: Awaited<ReturnType<typeof temporaryDirectory>> | null = null
  #port = 0
  #edge: Edge | null = null
  #client: SyncDatabase | null = null
  mismatches = 0

  constructor(postgres: Pick<TestPostgres, 'sql' | 'url'>) {
    this.#postgres = postgres
  }

  get edge(): Edge {
    if (!this.#edge) throw new Error('the edge does not run')
    return this.#edge
  }

  /** Creates the table, and removes everything that an earlier test left. */
  async prepare(rows = 0): Promise<void> {
    const sql = this.#postgres.sql()
    await sql`select pg_terminate_backend(active_pid) from pg_replication_slots where active`
    await until(
      'slots to be free',
      async () => (await sql`select 1 from pg_replication_slots where active`).length === 0,
    )
    await sql`select pg_drop_replication_slot(slot_name) from pg_replication_slots`
    await sql`drop publication if exists rockpool`
    await sql`drop table if exists docs`
    await sql`create table docs (id int primary key, n int not null default 0)`
    await sql`insert into docs (id) select n from generate_series(1, ${rows}::int) n`
  }

  async start(options: DocsOptions = {}): Promise<void> {
    this.#directory ??= await temporaryDirectory()
    this.#port ||= await freePort()
    this.#edge = await startEdge({
      databaseUrl: options.databaseUrl ?? this.#postgres.url,
      jwtSecret: this.secret,
      jwtAudience: AUDIENCE,
      directory: `${this.#directory.path}/edge`,
      port: this.#port,
      syncConfig: options.syncConfig ?? 'bucket_definitions:\n  all:\n    data:\n      - SELECT id, n FROM docs\n',
      ...(options.bindings ? { bindings: options.bindings } : {}),
    })
  }

  async stop(): Promise<void> {
    await this.#edge?.dispose()
    this.#edge = null
  }

  async connect(): Promise<void> {
    this.#client = await openSync({
      url: this.edge.url,
      auth: () => token(this.secret, 'alice'),
      path: `${this.#directory?.path}/client.db`,
      schema: { tables: { docs: { columns: { n: 'integer' } } } },
    })
    this.#client.on('mismatch', () => this.mismatches++)
    await this.#client.waitForSync({ timeout: 60_000 })
  }

  async disconnect(): Promise<void> {
    await this.#client?.close()
    this.#client = null
  }

  async dispose(): Promise<void> {
    await this.disconnect()
    await this.stop()
    await this.#directory?.remove()
  }

  status(): Promise<ReplicatorStatus> {
    return statusOf(this.edge.url, this.secret)
  }

  async held(): Promise<Doc[]> {
    return (await this.#client?.query<Doc>('select id, n from docs order by cast(id as integer)')) ?? []
  }

  /** Resolves with the status when `wanted` accepts it. */
  async until(what: string, wanted: (status: ReplicatorStatus) => boolean, seconds = 120): Promise<ReplicatorStatus> {
    return until(
      what,
      async () => {
        const status = await this.status()
        return wanted(status) ? status : undefined
      },
      seconds,
      () => this.status(),
    )
  }

  /** Resolves when the client has exactly the rows of Postgres. */
  async exact(seconds = 60): Promise<void> {
    const truth = () => this.#postgres.sql()<Doc[]>`select id::text, n from docs order by docs.id`
    await until(
      'the client to be exact',
      async () => JSON.stringify(await this.held()) === JSON.stringify(await truth()),
      seconds,
      async () => [(await this.held()).length, (await truth()).length, await this.status()],
    )
    if (this.mismatches > 0) throw new Error(`${this.mismatches} checksums did not match`)
  }
}
