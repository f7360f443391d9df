import { afterAll, beforeAll, expect, test } from 'vitest'
import { startEdge, type Edge } from '../support/edge.ts'
import { Follower } from '../support/follower.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { statusOf } from '../support/status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support/support.ts'

// What a stream of small transactions makes the replicator write when batches wait for a window, on the deployed bundle.

/** Long, so that a busy machine, where transactions gather without it, cannot look like it. */
const WINDOW_MS = 500
/** So many take more than a second, after which the rate is known. */
const MEASURED = 150
const TRANSACTIONS = 400

const secret = newSecret()
let postgres: TestPostgres
let edge: Edge
let client: Follower
let directory: Awaited<ReturnType<typeof temporaryDirectory>>

beforeAll(async () => {
  directory = await temporaryDirectory()
  postgres = await startPostgres()
  await postgres.sql()`create table items (id int primary key, owner text not null, n int not null)`
  await postgres.sql()`insert into items values (0, 'alice', 0)`
  edge = await startEdge({
    databaseUrl: postgres.url,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    syncConfig: `config:
  edition: 3
streams:
  mine:
    auto_subscribe: true
    query: SELECT id, owner, n FROM items WHERE owner = auth.user_id()
`,
    directory: directory.path,
    bindings: { BATCH_WINDOW_MS: String(WINDOW_MS) },
  })
  client = new Follower({ url: edge.url, token: () => token(secret, 'alice'), clientId: 'c' })
  await until('the first row', async () => rows().length === 1, 60)
})

/** The rows that the client has, as JSON. */
const rows = (): string[] => [...client.buckets.values()].flatMap((bucket) => [...bucket.rows.values()])

afterAll(async () => {
  await client?.close()
  await edge?.dispose()
  await postgres?.stop()
  await directory?.remove()
})

/** Commits rows `from` to `to`, each by itself, 10 ms apart. Postgres sets the pace. Returns the ms that it took. */
async function insertSlowly(from: number, to: number): Promise<number> {
  const start = Date.now()
  await postgres.sql().unsafe(`DO $do$ BEGIN
    FOR t IN ${from}..${to} LOOP
      INSERT INTO items VALUES (t, 'alice', t);
      COMMIT;
      PERFORM pg_sleep(0.01);
    END LOOP; END $do$`)
  return Date.now() - start
}

test('while many arrive, a window is one batch: its rows, and no more, whatever the number of transactions', async () => {
  await insertSlowly(1, MEASURED)
  const { written: before } = await statusOf(edge.url, secret)
  const { checkpoints } = client
  const took = await insertSlowly(MEASURED + 1, MEASURED + TRANSACTIONS)
  await until('all rows', async () => rows().length === 1 + MEASURED + TRANSACTIONS, 60)
  const { written } = await statusOf(edge.url, secret)
  // One that was under way when it began, one at the end, and a mark of the session.
  const windows = took / WINDOW_MS + 3
  expect(written.batches - before.batches).toBeLessThanOrEqual(windows)
  // Row state of each, and the outbox and the commit of each batch.
  expect(written.rows - before.rows).toBeLessThanOrEqual(MEASURED + TRANSACTIONS + 3 * windows)
  expect(written.appends - before.appends).toBeLessThanOrEqual(windows)
  // They come as they are stored, and not at the end.
  expect(client.checkpoints - checkpoints).toBeGreaterThan(took / WINDOW_MS / 3)
})

test('what comes alone is a batch of its own', async () => {
  for (let n = 1; n <= 5; n++) {
    const { written: before } = await statusOf(edge.url, secret)
    await postgres.sql()`update items set n = ${-n} where id = 0`
    await until('it to arrive', async () => rows().some((row) => row.includes(`"n":${-n}`)), 30)
    const { written } = await statusOf(edge.url, secret)
    expect(written.batches - before.batches).toBe(1)
  }
})
