import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import postgres, { type Sql } from 'postgres'
import type { ReplicatorStatus } from '../protocol/messages/status.ts'
import { startEdge, type Edge, type EdgeSettings } from '../test/support/edge.ts'
import { freePort } from '../test/support/postgres.ts'
import { statusOf } from '../test/support/status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../test/support/support.ts'
import { Clients } from './clients.ts'
import { startProfile } from './profile.ts'
import type { Bench } from './scenario.ts'

/**
 * `items` on shelves, and who reads which shelf. A bucket is a shelf, and a client has the shelves of its user. A row
 * has about 200 bytes.
 */
export const SYNC_CONFIG = `config:
  edition: 3
streams:
  shelf:
    auto_subscribe: true
    query: SELECT id, shelf, title, body, done, created_at FROM items WHERE shelf IN (SELECT shelf FROM readers WHERE reader = auth.user_id())
`

const TABLES = `
create table items (id int primary key, shelf int not null, title text not null, body text not null, done boolean not null default false,
  created_at timestamptz not null default now());
create table readers (id text primary key, reader text not null, shelf int not null);
`

/** The columns of a row after its id and shelf, 200 bytes together with them. `i` is its number. */
const REST = `'item ' || i || ' ' || repeat('t', 20), md5(i::text) || repeat('b', 60), i % 2 = 0, now()`

/** SQL that inserts rows `first` to `last`, spread over `shelves` shelves from `shelf` on. */
export const insertItems = (first: number | string, last: number | string, shelf = 0, shelves = 1): string =>
  `insert into items select i, ${shelf} + i % ${shelves}, ${REST} from generate_series(${first}, ${last}) i`

/** SQL that lets a user read the shelves `from` to `to`. */
export const insertReader = (reader: string, from: number, to = from): string =>
  `insert into readers select '${reader}-' || s, '${reader}', s from generate_series(${from}, ${to}) s`

/** The number of a crowd's clients that belong to one user: `MAX_STREAMS_PER_USER` is 20. */
const CLIENTS_OF_A_USER = 10

/** SQL that lets the users of this many clients read the shelves `from` to `to`. */
export const insertCrowd = (clients: number, from: number, to = from): string =>
  `insert into readers select u || '-' || s, 'crowd-' || u, s
    from generate_series(0, ${Math.ceil(clients / CLIENTS_OF_A_USER) - 1}) u, generate_series(${from}, ${to}) s`

/** Returns clients of several users. */
export async function crowd(
  world: Pick<World, 'token'>,
  clients: number,
): Promise<{ token: string; clientId: string }[]> {
  const users = Array.from({ length: Math.ceil(clients / CLIENTS_OF_A_USER) }, (_, u) => world.token(`crowd-${u}`))
  const tokens = await Promise.all(users)
  return Array.from({ length: clients }, (_, i) => ({
    token: tokens[Math.floor(i / CLIENTS_OF_A_USER)] ?? '',
    clientId: `crowd-${i}`,
  }))
}

export interface WorldOptions {
  syncConfig?: string
  bindings?: Record<string, string>
  /** SQL statements that run before the edge starts, after the tables are created. */
  prepare?: string[]
  front?: string
}

export interface World {
  readonly sql: Sql
  readonly databaseUrl: string
  readonly directory: string
  readonly url: string
  /** Starts another process of clients. */
  clients(): Clients
  token(user: string, claims?: Record<string, unknown>): Promise<string>
  status(): Promise<ReplicatorStatus>
  /** Starts workerd. The clock of a first copy begins when this resolves. */
  start(more?: Partial<Pick<EdgeSettings, 'syncConfig' | 'bindings'>>): Promise<void>
  /** Ends workerd. `start` continues with the same storage. */
  stop(): Promise<void>
  /** Resolves when the first copy is complete. */
  serving(): Promise<ReplicatorStatus>
  /** Resolves when everything committed so far is committed in its buckets too. */
  settled(): Promise<void>
  /** Resolves when workerd is idle: after a copy, buckets look for something to compact. */
  idle(): Promise<void>
  /** Returns the resident memory of workerd in MB. */
  resident(): number
  /** Returns the processor time of workerd in seconds. */
  processorSeconds(): number
  edge(): Edge
}

/** The share of a processor below which workerd counts as idle, and the time over which it is measured. */
const IDLE_SHARE = 0.05
const IDLE_MS = 2_000

let worlds = 0

/**
 * Runs `work` with a database, an edge over it that is not started yet, and processes of clients, and removes all of it
 * afterwards.
 */
export async function withWorld<T>(
  bench: Bench,
  options: WorldOptions,
  work: (world: World) => Promise<T>,
): Promise<T> {
  const name = `bench_${++worlds}`
  const admin = bench.postgres.sql()
  await admin.unsafe(`CREATE DATABASE ${name}`)
  const databaseUrl = bench.postgres.urlOf({ database: name })
  const sql = postgres(databaseUrl, { max: 4, onnotice: () => {} })
  // With objects on a shared disk, the disk would be measured.
  const directory = await temporaryDirectory(!bench.disk)
  const secret = newSecret()
  const processes: Clients[] = []
  let edge: Edge | null = null
  let stopProfile: () => Promise<void> = async () => {}
  const running = (): Edge => {
    if (!edge) throw new Error('the edge does not run')
    return edge
  }
  const proc = (file: string): string => readFileSync(`/proc/${running().pid()}/${file}`, 'utf8')
  const stop = async (): Promise<void> => {
    await stopProfile()
    stopProfile = async () => {}
    await edge?.dispose()
    edge = null
  }
  const world: World = {
    sql,
    databaseUrl,
    directory: directory.path,
    get url() {
      return running().url
    },
    edge: running,
    clients() {
      const clients = new Clients()
      processes.push(clients)
      return clients
    },
    token: (user, claims) => token(secret, user, 12 * 3_600, claims),
    status: () => statusOf(running().url, secret),
    async start(more = {}) {
      const inspectorPort = bench.profiles === null ? {} : { inspectorPort: await freePort() }
      edge = await startEdge({
        databaseUrl,
        jwtSecret: secret,
        jwtAudience: AUDIENCE,
        directory: directory.path,
        ...inspectorPort,
        ...(options.front === undefined ? {} : { front: options.front }),
        syncConfig: more.syncConfig ?? options.syncConfig ?? SYNC_CONFIG,
        // Polls often, so that commits are found soon also when nobody is connected.
        bindings: {
          SLOT: name,
          IDLE_POLL_SECONDS: '1',
          MAX_BUCKETS: '10000',
          MAX_LOOKUP_ROWS: '10000',
          ...options.bindings,
          ...more.bindings,
        },
      })
      if (bench.profiles !== null && inspectorPort.inspectorPort !== undefined)
        stopProfile = await startProfile(inspectorPort.inspectorPort, join(bench.profiles, name), (line) =>
          bench.say(line),
        )
    },
    stop,
    serving: () =>
      until('the first copy', async () => status(world, ({ plan, copy }) => plan !== null && copy === null), 1_800),
    async settled() {
      const [row] = await sql<{ lsn: string }[]>`select pg_current_wal_insert_lsn()::text as lsn`
      // Another transaction after it, because only ends of transactions are positions.
      await sql`select pg_logical_emit_message(true, 'bench', '')`
      const end = lsnNumber(row?.lsn ?? '0/0')
      await until(
        'everything to be stored',
        () => status(world, (s) => s.pendingBatches === 0 && lsnNumber(s.lsn ?? '0/0') >= end),
        600,
      )
    },
    async idle() {
      await until(
        'workerd to be idle',
        async () => {
          const before = world.processorSeconds()
          await new Promise((resolve) => setTimeout(resolve, IDLE_MS))
          return world.processorSeconds() - before < (IDLE_MS / 1_000) * IDLE_SHARE
        },
        600,
      )
    },
    resident: () => Number(/VmRSS:\s+(\d+)/.exec(proc('status'))?.[1] ?? 0) / 1_024,
    processorSeconds() {
      const stat = proc('stat')
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      return (Number(fields[11]) + Number(fields[12])) / 100
    },
  }
  try {
    await sql.unsafe(TABLES)
    for (const statement of options.prepare ?? []) await sql.unsafe(statement)
    await sql`vacuum analyze`
    return await work(world)
  } finally {
    for (const clients of processes) await clients.stop()
    await stop()
    await sql.end({ timeout: 1 })
    await drop(admin, name)
    await directory.remove()
  }
}

async function status(world: World, holds: (status: ReplicatorStatus) => boolean): Promise<ReplicatorStatus | false> {
  const status = await world.status()
  return holds(status) && status
}

async function drop(admin: Sql, name: string): Promise<void> {
  await admin`select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = ${name} and active`
  await until('the slot to be free', async () => {
    await admin`select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = ${name}`
    return true
  })
  await admin.unsafe(`DROP DATABASE ${name} WITH (FORCE)`)
}

export const lsnNumber = (text: string): bigint => {
  const [high = '0', low = '0'] = text.split('/')
  return (BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`)
}
