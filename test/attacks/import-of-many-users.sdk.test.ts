import { afterAll, beforeAll, expect, test } from 'vitest'
import { startEdge, type Edge } from '../support/edge.ts'
import { Follower, rowsOf } from '../support/follower.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { statusOf } from '../support/status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support/support.ts'

// One statement of an administrator makes more new buckets in one batch than names are kept in memory: 20,000.

const USERS = 7_000
/** A bucket of each user in three definitions, and the one that all share. */
const NEW_BUCKETS = 3 * USERS + 1
const secret = newSecret()
let postgres: TestPostgres
let edge: Edge
let client: Follower
let directory: Awaited<ReturnType<typeof temporaryDirectory>>

beforeAll(async () => {
  directory = await temporaryDirectory(true)
  postgres = await startPostgres()
  await postgres.sql()`create table u (id text primary key)`
  await postgres.sql()`create table o (id text primary key, owner text)`
  const syncConfig = `bucket_definitions:
  everyone: { data: [SELECT id FROM u] }
  mine:  { parameters: SELECT request.user_id() AS uid, data: [SELECT id FROM u WHERE id = bucket.uid] }
  mine2: { parameters: SELECT request.user_id() AS uid, data: ["SELECT id, 1 AS q FROM u WHERE id = bucket.uid"] }
  owned: { parameters: SELECT id FROM u WHERE id = request.user_id(), data: [SELECT id FROM o WHERE owner = bucket.id] }
`
  edge = await startEdge({
    databaseUrl: postgres.url,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    syncConfig,
    directory: directory.path,
    // All objects share one process here, and its files.
    bindings: { ACTIVE_BUCKETS: '4000' },
  })
  client = new Follower({ url: edge.url, token: () => token(secret, '77'), clientId: 'c' })
})

afterAll(async () => {
  await client?.close()
  await edge?.dispose()
  await postgres?.stop()
  await directory?.remove()
})

// Local workerd takes 4,000 new objects in 12 s.
const LONG = { timeout: 600_000 }

test(
  `${USERS} users at once, each with buckets of their own, are imported, and the replicator was never reset`,
  LONG,
  async () => {
    await until(
      'a live session',
      async () => (await statusOf(edge.url, secret)).state === 'live' && client.checkpoints > 0,
    )
    await postgres.sql()`insert into u select n::text from generate_series(1, ${USERS}::int) n`
    const status = await until(
      'the import',
      async () => {
        const now = await statusOf(edge.url, secret)
        if ((now.diagnostics.counts.ROCKPOOL_INTERNAL ?? 0) > 3) throw new Error(JSON.stringify(now.diagnostics.recent))
        return rowsOf(client.buckets, '[').length >= USERS + 2 && now.pendingBatches === 0 && now
      },
      580,
      () => statusOf(edge.url, secret),
    )
    // A machine that is busy with other things may let a connection to Postgres go.
    const { ROCKPOOL_SOURCE_UNREACHABLE: _, ...counts } = status.diagnostics.counts
    expect(counts).toEqual({})
    expect(status.written.appends).toBeGreaterThanOrEqual(NEW_BUCKETS)
    expect(client.problems).toEqual([])
    // All of everyone's, and the user's own twice.
    expect(rowsOf(client.buckets, '[')).toHaveLength(USERS + 2)
  },
)
