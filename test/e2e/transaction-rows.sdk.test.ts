import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { DocsClient, type DocsOptions } from '../support/docs-client.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { privateAuthority, SSL } from '../support/private-authority.ts'
import { until } from '../support/support.ts'

// A transaction of any size ends. Postgres sends a large one from its beginning to each session, so one that takes a
// session longer than the platform gives it is killed at the same place for ever. It is then not read to its end, and
// every table is compared. Over our own TLS, because that is where a row that passes costs most.

const authority = privateAuthority()
const PASSWORD = 'over-tls-only'
const ROWS = 20_000
/** That of the first test. */
const MANY = 50_000
/** Rows that are there before: the large transactions update them all, and insert the rest. */
const BEFORE = 2_000
let postgres: TestPostgres
let docs: DocsClient
/** What a client held that was no state of the database. */
const torn: string[] = []
let watching = false
let watch: Promise<void> | null = null

beforeAll(async () => {
  const hba = 'host all postgres 127.0.0.1/32 scram-sha-256\nhostssl all pool all scram-sha-256\n'
  postgres = await startPostgres(SSL, { files: { ...authority.issue(), 'pg_hba.conf': hba } })
  await postgres.sql().unsafe(`CREATE ROLE pool LOGIN SUPERUSER REPLICATION PASSWORD '${PASSWORD}'`)
})
afterAll(() => postgres?.stop())
afterEach(async () => {
  watching = false
  await watch
  await docs?.dispose()
  await postgres.sql()`drop table if exists notes`
  expect(torn.splice(0)).toEqual([])
})

const sql = () => postgres.sql()
const options = (bindings: Record<string, string>, syncConfig?: string): DocsOptions => ({
  databaseUrl: `postgres://pool:${PASSWORD}@localhost:${postgres.port}/app?sslmode=require`,
  bindings: {
    DATABASE_CA: authority.ca,
    IDLE_POLL_SECONDS: '1',
    IDLE_POLL_MAX_SECONDS: '1',
    CATALOG_WATCH_SECONDS: '0.5',
    ...bindings,
  },
  ...(syncConfig === undefined ? {} : { syncConfig }),
})

/**
 * A client that holds what there is, and is looked at from now on: all rows have one `n`, as every transaction leaves
 * it.
 */
async function begin(bindings: Record<string, string>, syncConfig?: string): Promise<void> {
  docs = new DocsClient(postgres)
  await docs.prepare(BEFORE)
  await docs.start(options(bindings, syncConfig))
  await docs.connect()
  await docs.exact()
  watching = true
  watch = (async () => {
    while (watching) {
      const held = await docs.held()
      const states = new Set(held.map(({ n }) => n))
      const sizes = [BEFORE, ROWS, ROWS + 1, MANY, MANY + 1]
      if (states.size !== 1 || !sizes.includes(held.length)) torn.push(`${held.length} rows with ${[...states].join()}`)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  })()
}

/** One transaction that leaves `ROWS` rows, each with this `n`. */
const large = (n: number, rows = ROWS) =>
  sql()`insert into docs select id, ${n}::int from generate_series(1, ${rows}::int) id on conflict (id) do update set n = excluded.n`

const counts = async () => (await docs.status()).diagnostics.counts
const left = async () => (await counts()).ROCKPOOL_TRANSACTION_SKIPPED ?? 0
const told = async () =>
  (await docs.status()).diagnostics.recent.find(({ code }) => code === 'ROCKPOOL_TRANSACTION_SKIPPED')?.reason ?? ''
/** Nothing is compared, and the client is what Postgres is. */
async function ends(): Promise<void> {
  await docs.exact(180)
  await docs.until('the end of the comparison', ({ comparing, state }) => comparing === null && state === 'live')
  expect((await counts()).ROCKPOOL_RESYNC ?? 0).toBe(0)
}

test('a transaction of more rows than are read of one, by sessions that do less than a slice, killed in between', async () => {
  await begin({ SESSION_CHANGES: '1000', TRANSACTION_ROWS: '10000' })
  await large(1, MANY)
  for (let kills = 0; kills < 3; kills++) {
    await new Promise((resolve) => setTimeout(resolve, 700))
    await docs.edge.kill9()
  }
  await until(
    'the end of the transaction',
    async () => (await left()) === 1,
    120,
    () => docs.status(),
  )
  expect(await told()).toMatch(
    /^the transaction at [0-9A-F]+\/[0-9A-F]+ was not read to its end, and every table is compared: /,
  )
  await ends()
  await sql()`update docs set n = 2`
  await until(
    'the second one',
    async () => (await left()) === 2,
    120,
    () => docs.status(),
  )
  await ends()
  // What is behind it comes by the stream.
  await sql()`insert into docs values (${MANY + 1}, 2)`
  await docs.exact()
  expect(await left()).toBe(2)
})

/**
 * The process dies when a session has passed so many rows, between 17,000 and 27,000: see `test/support`. `deaths`
 * times.
 */
const dying = (deaths: number) => ({
  FAULTS: JSON.stringify({
    seed: 114,
    rate: 1 / 40_000,
    fading: false,
    most: deaths,
    points: ['stream.message'],
    kinds: ['abort'],
    backOffMs: 100,
  }),
})
const slices = { SLICE_CHANGES: '1000' }

/** The process ends in the middle of a session, which is a restart as those deaths are. */
async function ended(): Promise<void> {
  process.kill(docs.edge.pid(), 'SIGKILL')
  await docs.stop()
}

/** Each append takes a while, and nothing is stored before the last one was answered. */
const slow = {
  ...slices,
  BATCHES_IN_FLIGHT: '1',
  FAULTS: JSON.stringify({ seed: 1, rate: 1, fading: false, delayMs: 100, points: ['append.send'], kinds: ['delay'] }),
}

/** A large transaction comes, and is stored up to somewhere behind those deaths when everything is killed. */
async function stopsInside(n: number): Promise<void> {
  await large(n, 80_000)
  await until('a part of it', async () => (await docs.status()).written.changes >= BEFORE + 40_000)
  expect((await docs.status()).written.changes).toBeLessThan(BEFORE + 80_000)
  await ended()
}

test('sessions that die twice before they come to what is new of a transaction: the third reads it to its end', async () => {
  await begin(slow)
  watching = false
  await watch
  await stopsInside(1)
  await docs.start(options({ ...slices, ...dying(2) }))
  await ends()
  const now = await counts()
  expect([now.ROCKPOOL_TRANSACTION_SKIPPED, now.ROCKPOOL_RESTARTED]).toEqual([undefined, 1 + 2])
})

test('sessions that die three times: the fourth leaves it behind, and nothing of it comes again', async () => {
  await begin(slow)
  watching = false
  await watch
  await stopsInside(1)
  await docs.start(options({ ...slices, ...dying(100) }))
  await ends()
  const now = await counts()
  expect([now.ROCKPOOL_TRANSACTION_SKIPPED, now.ROCKPOOL_RESTARTED]).toEqual([1, 1 + 3])
  expect(await told()).toMatch(/3 sessions ended before they came to what was new of it$/)
})

test('a transaction that is stored whole, and that sessions die of: it does not come again, and nothing is compared', async () => {
  await begin(slices)
  await large(1, MANY)
  await docs.exact()
  await ended()
  await docs.start(options({ ...slices, ...dying(100) }))
  await docs.until('three deaths, and a session that goes on', ({ state, diagnostics }) => {
    return state === 'live' && (diagnostics.counts.ROCKPOOL_RESTARTED ?? 0) >= 1 + 3
  })
  await sql()`insert into docs values (${MANY + 1}, 1)`
  await ends()
  const now = await counts()
  expect([now.ROCKPOOL_TRANSACTION_SKIPPED, now.ROCKPOOL_RESTARTED]).toEqual([undefined, 1 + 3])
})

test.each(['throw', 'abort'] as const)(
  'whatever is interrupted while it is left behind (%s), nothing is lost and nothing is torn',
  async (kind) => {
    const points = [
      'transaction.left',
      'transaction.stored',
      'stream.acknowledge',
      'session.close',
      'read.barrier',
      'read.progress',
    ]
    const faults = { seed: 3, rate: 0.5, eager: 2, most: 3, points, kinds: [kind], backOffMs: 100 }
    await begin({ ...slices, TRANSACTION_ROWS: '10000', FAULTS: JSON.stringify(faults) })
    for (let n = 1; n <= 3; n++) {
      await large(n)
      await until(
        'it is left behind',
        async () => (await left()) >= n,
        120,
        () => docs.status(),
      )
    }
    await ends()
  },
)

test('one that alters a table, makes another one, and is followed by others, large and small', async () => {
  const config =
    'bucket_definitions:\n  all:\n    data:\n      - SELECT id, n FROM docs\n      - SELECT id, n FROM notes\n'
  await begin({ ...slices, TRANSACTION_ROWS: '10000' }, config)
  await sql().begin(async (tx) => {
    await tx`update docs set n = 1`
    await tx`insert into docs select id, 1 from generate_series(${BEFORE + 1}::int, ${ROWS}::int) id`
    await tx`alter table docs add column more text`
    await tx`create table notes (id int primary key, n int)`
    await tx`insert into notes select id, id from generate_series(1, 100) id`
    await tx`update docs set more = 'x'`
  })
  await sql()`insert into notes values (101, 101)`
  await large(2)
  await sql()`insert into docs values (${ROWS + 1}, 2)`
  await until(
    'both are left behind',
    async () => (await left()) >= 1,
    120,
    () => docs.status(),
  )
  await ends()
  await docs.until('the new table', ({ copy }) => {
    return (
      copy?.tables.some(({ table, state, rows }) => table === 'public.notes' && state === 'done' && rows >= 101) ?? true
    )
  })
})
