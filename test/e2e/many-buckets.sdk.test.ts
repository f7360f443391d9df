import { afterAll, beforeAll, expect, test } from 'vitest'
import { startEdge, type Edge } from '../support/edge.ts'
import { Follower, rowsOf } from '../support/follower.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { requestWriteCheckpoint, statusOf } from '../support/status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support/support.ts'

// `ROCKPOOL_BUCKETS=20000 npm test -- many-buckets`: above some 6,600 objects that are awake at a time local workerd
// resets connections.
const BUCKETS = Number(process.env.ROCKPOOL_BUCKETS ?? 2_000)
const CLIENTS = 20
/** So that a change of all buckets is several. */
const SLICE = 500

const secret = newSecret()
let postgres: TestPostgres
let edge: Edge
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
const clients: Follower[] = []

beforeAll(async () => {
  directory = await temporaryDirectory(true)
  postgres = await startPostgres()
  const sql = postgres.sql()
  await sql`create table items (id int primary key, owner text not null, n int not null)`
  await sql`insert into items select i, 'user' || i, 0 from generate_series(1, ${BUCKETS}::int) i`
  const syncConfig = `bucket_definitions:
  mine:
    parameters: SELECT request.user_id() AS owner
    data:
      - SELECT id, owner, n FROM items WHERE owner = bucket.owner
`
  edge = await startEdge({
    databaseUrl: postgres.url,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    syncConfig,
    directory: directory.path,
    bindings: { SLICE_CHANGES: String(SLICE) },
  })
})

afterAll(async () => {
  await Promise.all(clients.map((client) => client.close()))
  await edge?.dispose()
  await postgres?.stop()
  await directory?.remove()
})

test(`a first copy into ${BUCKETS} buckets succeeds while ${CLIENTS} clients connect, and no call of a bucket or client fails`, async () => {
  const started = performance.now()
  const refused: string[] = []
  for (let n = 0; n < CLIENTS; n++) {
    const user = `user${1 + n * Math.floor(BUCKETS / CLIENTS)}`
    clients.push(new Follower({ url: edge.url, token: () => token(secret, user), clientId: user }))
    // They come one after the other all along the copy.
    await until(
      'a part of the copy',
      async () => {
        const status = await statusOf(edge.url, secret)
        refused.push(...status.failingBuckets.map(({ error }) => error))
        return status.written.appends >= ((n + 1) * BUCKETS) / CLIENTS
      },
      300,
      async () => [await statusOf(edge.url, secret), postgres.log.slice(-2_000)],
    )
  }
  await until(
    'every client',
    async () => clients.every((client) => client.checkpoints > 0),
    120,
    async () => [await statusOf(edge.url, secret), postgres.log.slice(-2_000)],
  )
  console.log(`${BUCKETS} buckets in ${((performance.now() - started) / 1_000).toFixed(1)} s`)
  for (const client of clients) {
    expect(client.ended).toBeNull()
    expect(client.streams).toBe(1)
    expect(client.problems).toEqual([])
    expect(rowsOf(client.buckets, '[')).toHaveLength(1)
  }
  const { failingBuckets, written, diagnostics } = await statusOf(edge.url, secret)
  expect([refused, failingBuckets]).toEqual([[], []])
  expect(diagnostics.counts, JSON.stringify([diagnostics.recent, postgres.log.slice(-2_000)])).toEqual({})
  // One append each, none repeated; in rows written: row state and the bucket's name with its index.
  expect(written.appends).toBe(BUCKETS)
  expect(written.rows).toBeLessThan(BUCKETS * 3.1 + 100)
})

test('a change of every bucket in one transaction reaches its clients, whole', async () => {
  await postgres.sql()`update items set n = 1`
  const bearer = await token(secret, 'user1')
  const write = await requestWriteCheckpoint(edge.url, bearer, 'user1')
  await until('the write checkpoint', async () => (clients[0]?.writeCheckpoint ?? 0n) >= write, 600)
  await until(
    'every client',
    async () => clients.every((client) => rowsOf(client.buckets, '[').every((row) => row.n === 1)),
    120,
  )
  const { failingBuckets, diagnostics, held } = await statusOf(edge.url, secret)
  expect([failingBuckets, diagnostics.counts]).toEqual([[], {}])
  // I8: two slices, however many buckets a transaction touches.
  expect(held.peakChanges).toBeLessThanOrEqual(2 * SLICE)
  expect(held.peakSending).toBeLessThan(8 * 1024 * 1024)
})
