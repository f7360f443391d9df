import { afterAll, beforeAll, expect, test } from 'vitest'
import { openSync, type SyncDatabase } from '@rockpool/client/node'
import type { ReplicatorStatus } from '../../protocol/messages/status.ts'
import { startEdge, type Edge } from '../support/edge.ts'
import { freePort, startPostgres, type TestPostgres } from '../support/postgres.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support/support.ts'

const EXISTING = 100_000
/** `ROCKPOOL_LARGE=1000000` for the size that the memory of an object must bear too. */
const IN_ONE_TRANSACTION = Number(process.env.ROCKPOOL_LARGE ?? 200_000)
const BACKLOG = 50_000
const secret = newSecret()
let postgres: TestPostgres
let settings: Parameters<typeof startEdge>[0]
let edge: Edge
let client: SyncDatabase
let directory: Awaited<ReturnType<typeof temporaryDirectory>>

beforeAll(async () => {
  directory = await temporaryDirectory()
  postgres = await startPostgres()
  await postgres.sql()`create table items (id int primary key, name text not null, price numeric not null)`
  await postgres.sql()`insert into items select n, 'item ' || n, n / 100.0 from generate_series(1, ${EXISTING}::int) n`
  const syncConfig = 'bucket_definitions:\n  all:\n    data:\n      - SELECT id, name, price FROM items\n'
  settings = {
    databaseUrl: postgres.url,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    syncConfig,
    directory: directory.path,
    port: await freePort(),
  }
  edge = await startEdge(settings)
  client = await openSync({
    url: edge.url,
    auth: () => token(secret, 'alice'),
    path: `${directory.path}/client.db`,
    schema: { tables: { items: { columns: { name: 'text', price: 'text' } } } },
  })
})

afterAll(async () => {
  await client?.close()
  await edge?.dispose()
  await postgres?.stop()
  await directory?.remove()
})

const sums = async (): Promise<{ n: number; prices: number } | undefined> =>
  (
    await client.query<{ n: number; prices: number }>(
      'select count(*) as n, sum(round(price * 100)) as prices from items',
    )
  )[0]

const wanted = async (): Promise<{ n: number; prices: number }> => {
  const [row] = await postgres.sql()<
    { n: string; prices: string }[]
  >`select count(*) as n, sum(round(price * 100)) as prices from items`
  return { n: Number(row?.n), prices: Number(row?.prices) }
}

async function status(): Promise<ReplicatorStatus> {
  const response = await fetch(`${edge.url}/status`, {
    headers: { authorization: `Token ${await token(secret, 'ops', 60, { operator: true })}` },
  })
  const body: { data: ReplicatorStatus } = await response.json()
  return body.data
}

test(`${EXISTING} existing rows in one bucket reach a client`, async () => {
  await client.waitForSync({ timeout: 120_000 })
  expect(await sums()).toEqual(await wanted())
})

test(`I8: a transaction of ${IN_ONE_TRANSACTION} rows passes in slices; what the replicator holds stays bounded, and clients see it as one`, async () => {
  const seen = new Set<number>()
  const end = client.live<{ n: number }>('select count(*) as n from items', [], (rows) => seen.add(Number(rows[0]?.n)))
  const before = await status()
  await postgres.sql()`insert into items select n, 'item ' || n, n / 100.0 from generate_series(${EXISTING + 1}::int, ${EXISTING + IN_ONE_TRANSACTION}::int) n`
  await until(
    'the rows',
    async () => (await sums())?.n === EXISTING + IN_ONE_TRANSACTION,
    IN_ONE_TRANSACTION / 1_000 + 60,
    sums,
  )
  end()
  expect(await sums()).toEqual(await wanted())
  const after = await status()
  // I4: nothing in between was ever visible.
  expect([...seen].sort((a, b) => a - b)).toEqual([EXISTING, EXISTING + IN_ONE_TRANSACTION])
  expect(after.checkpoint - before.checkpoint).toBe(IN_ONE_TRANSACTION)
  // Two slices of 8,000 changes, and ops of two slices of 4 MB on their way. The transaction is many times that.
  expect(after.held.peakChanges).toBeLessThanOrEqual(16_000)
  expect(after.held.peakChanges).toBeGreaterThan(0)
  expect(after.held.peakSending).toBeLessThan(8 * 1024 * 1024)
  expect(after.held.sending).toBe(0)
  expect(after.pendingBatches).toBe(0)
})

test(`I8: a backlog of ${BACKLOG} transactions of one row is taken in, many together, and memory stays bounded`, async () => {
  const before = await status()
  await edge.dispose()
  const sql = postgres.sql()
  await sql`alter system set synchronous_commit = off`
  await sql`select pg_reload_conf()`
  await sql.unsafe(`create procedure backlog(n int) language plpgsql as $$ begin
    for i in 1..n loop
      insert into items values (100000000 + i, 'backlog', i % 100);
      commit;
    end loop; end $$`)
  await sql`call backlog(${BACKLOG}::int)`
  edge = await startEdge(settings)
  const after = await until(
    'the backlog',
    async () => {
      const now = await status()
      return now.checkpoint - before.checkpoint >= BACKLOG && now.pendingBatches === 0 && now
    },
    120,
    status,
  )
  expect(after.checkpoint - before.checkpoint).toBe(BACKLOG)
  expect(after.held.peakChanges).toBeLessThanOrEqual(16_000)
  // They are stored together: a batch for each would be 50,000.
  expect(after.written.batches).toBeLessThan(BACKLOG / 20)
  await until('the client', async () => (await sums())?.n === (await wanted()).n, 60, sums)
  expect(await sums()).toEqual(await wanted())
})

test('I4, I8: a TRUNCATE of everything passes in slices, too, together with the rest of its transaction', async () => {
  const seen = new Set<number>()
  const end = client.live<{ n: number }>('select count(*) as n from items', [], (rows) => seen.add(Number(rows[0]?.n)))
  const all = (await sums())?.n ?? 0
  const before = await status()
  await postgres.sql().begin(async (sql) => {
    await sql`truncate items`
    await sql`insert into items values (1, 'behind it', 1), (1000000000, 'new', 2)`
  })
  await until('the rows', async () => (await sums())?.n === 2, 280, sums)
  end()
  expect(await sums()).toEqual(await wanted())
  expect([...seen].sort((a, b) => a - b)).toEqual([2, all])
  const after = await status()
  expect(after.checkpoint - before.checkpoint).toBe(all + 2)
  expect(after.held.peakChanges).toBeLessThanOrEqual(16_000)
  expect(after.held.peakSending).toBeLessThan(8 * 1024 * 1024)
})
