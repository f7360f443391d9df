import { createHash } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ReplicatorStatus } from '../../protocol/messages/status.ts'
import { startEdge, type Edge } from '../support/edge.ts'
import { Follower } from '../support/follower.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { statusOf } from '../support/status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support/support.ts'
import { olderRelease } from '../older-release/bundle.ts'

// The release before this one stores positions, cursors and images bare, and reads them wrapped as well. The two take
// the same storage by turns, in the middle of whatever is stored: the place of a copy, a place inside a transaction,
// and values that the stream leaves out. Nothing may be read again, and nothing sent twice. The release before that one
// reads no wrapped state. It takes the source for another one, and compares everything.

const CONFIG = 'bucket_definitions:\n  all:\n    data:\n      - SELECT id, n, big FROM docs\n'
const ROWS = 20_000
const CHANGED = 15_000
/** Of a row: longer than what Postgres stores inside it. */
const BIG = "(select string_agg(md5(id::text || i), '') from generate_series(1, 100) i)"
const secret = newSecret()
let postgres: TestPostgres
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let older: string
let oldest: string
let edge: Edge
let port: number | undefined
let client: Follower
let release: 'oldest' | 'older' | 'this' = 'this'

async function start(): Promise<void> {
  edge = await startEdge({
    databaseUrl: postgres.url,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    syncConfig: CONFIG,
    directory: `${directory.path}/edge`,
    ...(port === undefined ? {} : { port }),
    ...(release === 'this' ? {} : { bundle: release === 'older' ? older : oldest }),
    // Ops are counted. Slices are small, so that there are many places to be ended at.
    bindings: { COMPACTION_SECONDS: '3600', SLICE_CHANGES: '100' },
  })
  port = Number(new URL(edge.url).port)
}

/** The process ends in the middle of whatever it does, and the other release takes its storage. */
async function turn(
  to: typeof release = release === 'older' ? 'this' : 'older',
  meanwhile = async () => {},
): Promise<void> {
  process.kill(edge.pid(), 'SIGKILL')
  await edge.dispose()
  await meanwhile()
  release = to
  await start()
}

const status = (): Promise<ReplicatorStatus> => statusOf(edge.url, secret)
const truth = async () => {
  const rows = await postgres.sql()<
    { id: number; n: number; big: string }[]
  >`select id, n, md5(big) as big from docs order by id`
  return rows.map(({ id, n, big }) => `${id} ${n} ${big}`)
}
async function held(): Promise<string[]> {
  const rows = [...client.buckets.values()].flatMap(({ rows: each }) =>
    [...each.values()].map((data) => JSON.parse(data) as Record<string, unknown>),
  )
  return rows
    .sort((a, b) => Number(a.id) - Number(b.id))
    .map(
      ({ id, n, big }) =>
        `${String(id)} ${String(n)} ${big === null ? 'null' : createHash('md5').update(String(big)).digest('hex')}`,
    )
}
async function inStep(): Promise<void> {
  const wanted = JSON.stringify(await truth())
  await until(
    'the client',
    async () => JSON.stringify(await held()) === wanted,
    120,
    async () => [client.state, await status()],
  )
  expect(client.problems).toEqual([])
}
/**
 * Turns after each part of a work that this process has stored, until the work is done. Returns how many there were in
 * its middle.
 */
async function turnsDuring(done: () => Promise<boolean>): Promise<number> {
  for (let turns = 0; turns < 6; turns++) {
    // Without a pause: a process that has just started takes all of it in within a second.
    while (!(await done()) && (await status()).written.batches < 3);
    if (await done()) return turns
    await turn()
  }
  return 6
}

beforeAll(async () => {
  directory = await temporaryDirectory(true)
  older = await olderRelease(directory.path, '1f167cff')
  oldest = await olderRelease(directory.path, '7fdbbe75')
  postgres = await startPostgres()
  const sql = postgres.sql()
  await sql`create table docs (id int primary key, n int not null, big text)`
  await sql`alter table docs alter big set storage external`
  await sql.unsafe(
    `insert into docs select id, 0, case when id <= 50 then ${BIG} end from generate_series(1, ${ROWS}) id`,
  )
  release = 'older'
  await start()
  client = new Follower({ url: edge.url, token: () => token(secret, 'alice'), clientId: 'forms' })
})
afterAll(async () => {
  await client?.close()
  if (edge) process.kill(edge.pid(), 'SIGKILL')
  await edge?.dispose()
  await postgres?.stop()
  await directory?.remove()
})

test('a copy that each release continues: every row has one op', async () => {
  const turns = await turnsDuring(async () => (await status()).plan !== null)
  expect(turns).toBeGreaterThanOrEqual(1)
  await inStep()
  expect(client.received).toBe(ROWS)
})

test('a transaction in slices that each release continues: every change has one op, and nothing is compared', async () => {
  const before = client.received
  await postgres.sql()`update docs set n = n + 1 where id > ${ROWS - CHANGED}`
  const turns = await turnsDuring(async () => client.received - before >= CHANGED)
  expect(turns).toBeGreaterThanOrEqual(1)
  await inStep()
  expect(client.received - before).toBe(CHANGED)
  expect((await status()).diagnostics.counts.ROCKPOOL_RESYNC ?? 0).toBe(0)
})

test('values that the stream leaves out, kept by one and needed by the other', async () => {
  const before = client.received
  for (let n = 0; n < 4; n++) {
    await postgres.sql()`update docs set n = n + 1 where id <= 50`
    await inStep()
    await turn()
  }
  expect(client.received - before).toBe(4 * 50)
})

test('stored values of a row are not read again when its other columns change while no release runs', async () => {
  await turn(release === 'older' ? 'this' : 'older', async () => {
    await postgres.sql()`update docs set n = n + 1 where id <= 25`
  })
  await inStep()
  expect((await status()).diagnostics.counts.ROCKPOOL_RESYNC ?? 0).toBe(0)
})

const resyncs = async () => (await status()).diagnostics.counts.ROCKPOOL_RESYNC ?? 0

test('two releases back, in the middle of a transaction: everything is compared, and again nothing is when this release returns', async () => {
  if (release !== 'this') await turn('this')
  await inStep()
  await postgres.sql()`update docs set n = n + 1, big = case when id <= 50 then repeat(md5(id::text), 100) end`
  await until('a part of it', async () => (await status()).written.batches > 3)
  await turn('oldest')
  await until('the comparison', async () => (await resyncs()) === 1)
  await inStep()
  // Values that it keeps, and values that this release kept.
  await postgres.sql()`update docs set n = n + 1 where id <= 50`
  await inStep()
  const before = client.received
  await turn('this', async () => {
    await postgres.sql()`update docs set n = n + 1 where id <= 40`
  })
  await inStep()
  expect(client.received - before).toBe(40)
  expect(await resyncs()).toBe(1)
})
