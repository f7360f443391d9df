import { afterAll, beforeAll, expect, test } from 'vitest'
import { DEFAULT_TENANT } from '../../tenants/single.ts'
import { damage } from '../support/damage.ts'
import { startEdge, type Edge } from '../support/edge.ts'
import { Follower } from '../support/follower.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { requestWriteCheckpoint, statusOf } from '../support/status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support/support.ts'

// Rows written are what Cloudflare bills. Everything below is counted, as SQLite in workerd counts it, on the deployed
// bundle.

const COPIED = 200
const secret = newSecret()
let postgres: TestPostgres
let edge: Edge
let client: Follower
let directory: Awaited<ReturnType<typeof temporaryDirectory>>

beforeAll(async () => {
  directory = await temporaryDirectory()
  postgres = await startPostgres()
  const sql = postgres.sql()
  await sql`create table items (id int primary key, owner text not null, n int not null)`
  await sql`insert into items select n, 'copied', 0 from generate_series(1, ${COPIED}::int) n`
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
  })
  // Somebody is connected, so the session goes on.
  client = new Follower({ url: edge.url, token: () => token(secret, 'alice'), clientId: 'c' })
})

afterAll(async () => {
  await client?.close()
  await edge?.dispose()
  await postgres?.stop()
  await directory?.remove()
})

/** Everything that `work`, one transaction, makes the replicator write, once it is committed. */
async function writtenBy(work: () => Promise<unknown>) {
  const before = await statusOf(edge.url, secret)
  const [row] = await postgres.sql()<{ lsn: string }[]>`select pg_current_wal_insert_lsn()::text as lsn`
  const start = lsnNumber(row?.lsn ?? '')
  await work()
  const after = await until(
    'the transaction to be stored',
    async () => {
      const status = await statusOf(edge.url, secret)
      return status.pendingBatches === 0 && lsnNumber(status.lsn ?? '0/0') >= start && status
    },
    30,
  )
  const { changes, batches, rows, appends } = after.written
  const was = before.written
  return {
    changes: changes - was.changes,
    batches: batches - was.batches,
    rows: rows - was.rows,
    appends: appends - was.appends,
  }
}

const lsnNumber = (text: string): bigint => {
  const [high = '0', low = '0'] = text.split('/')
  return (BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`)
}

test(`a copy of ${COPIED} rows in one chunk: row state, and few rows beside it`, async () => {
  await until('the copy', async () => client.checkpoints > 0)
  // Behind it, once, what there is to tidy up later begins to be counted.
  await until('the first round', async () =>
    damage(directory.path, 'Replicator', DEFAULT_TENANT, (db) =>
      String(db.prepare("SELECT value FROM state WHERE key = 'round'").get()?.value).includes('"done":true'),
    ),
  )
  const { written, copy } = await statusOf(edge.url, secret)
  expect(copy).toBeNull()
  expect(written.changes).toBe(COPIED)
  expect(written.appends).toBe(1)
  // Beside row state: a row for each migration of the storage, the sync config, its definitions and plan, the tables
  // and where their copy is, the bucket's name, the relay, the key that signs messages in the WAL, the batches of the
  // chunk and of the switch, the first round, what was used today.
  expect(written.rows).toBeLessThanOrEqual(COPIED + 60)
})

test('a transaction of one row in one bucket: row state, outbox, commit; and a page', async () => {
  const sql = postgres.sql()
  await writtenBy(() => sql`insert into items values (1000, 'alice', 0)`)
  for (let n = 1; n <= 10; n++) {
    const written = await writtenBy(() => sql`update items set n = ${n} where id = 1000`)
    expect(written).toEqual({ changes: 1, batches: 1, rows: 3, appends: 1 })
  }
  expect(await writtenBy(() => sql`insert into items values (1001, 'alice', 0)`)).toMatchObject({ rows: 3, appends: 1 })
  expect(await writtenBy(() => sql`delete from items where id = 1001`)).toMatchObject({ rows: 3, appends: 1 })
})

test('a transaction of 100 rows in one bucket: 1.03 rows per change', async () => {
  const sql = postgres.sql()
  const written = await writtenBy(() => sql`insert into items select n, 'alice', 0 from generate_series(2001, 2100) n`)
  expect(written).toEqual({ changes: 100, batches: 1, rows: 102, appends: 1 })
  const updated = await writtenBy(() => sql`update items set n = n + 1 where id between 2001 and 2100`)
  expect(updated).toEqual({ changes: 100, batches: 1, rows: 102, appends: 1 })
})

test('an update that changes nothing that is synced writes no row state and no op', async () => {
  const sql = postgres.sql()
  expect(await writtenBy(() => sql`update items set n = n where id = 1000`)).toEqual({
    changes: 1,
    batches: 1,
    rows: 1,
    appends: 0,
  })
})

test('a transaction that touches nothing of ours: its position', async () => {
  const sql = postgres.sql()
  expect(await writtenBy(() => sql`select pg_logical_emit_message(true, 'of somebody else', 'x')`)).toMatchObject({
    rows: 1,
    appends: 0,
  })
})

test('a write checkpoint: as a change of one row', async () => {
  const bearer = await token(secret, 'alice')
  // The first one reserves numbers, and names the mailbox.
  await writtenBy(() => requestWriteCheckpoint(edge.url, bearer, 'c'))
  expect(await writtenBy(() => requestWriteCheckpoint(edge.url, bearer, 'c'))).toEqual({
    changes: 1,
    batches: 1,
    rows: 3,
    appends: 1,
  })
})

test('TRUNCATE: the row state of each row, and a page for each bucket', async () => {
  const sql = postgres.sql()
  const [{ n } = { n: 0 }] = await sql<{ n: number }[]>`select count(*)::int as n from items`
  expect(await writtenBy(() => sql`truncate items`)).toEqual({ changes: n, batches: 1, rows: n + 2, appends: 2 })
})

test('consecutive transactions into many buckets share their appends', async () => {
  const [transactions, owners] = [100, 100]
  const changes = transactions * owners
  const { written: before } = await statusOf(edge.url, secret)
  const written = await writtenBy(async () => {
    await postgres.sql().unsafe(`DO $do$ BEGIN
      FOR t IN 1..${transactions} LOOP
        INSERT INTO items SELECT 1000000 + t * ${owners} + i, 'owner ' || i, 0 FROM generate_series(1, ${owners}) i;
        COMMIT;
      END LOOP; END $do$`)
    await until(
      'all of them',
      async () => (await statusOf(edge.url, secret)).written.changes >= before.changes + changes,
      60,
    )
  })
  expect(written.changes).toBe(changes)
  // Each transaction touches each bucket: as many appends as changes when none waits for the next one.
  expect(written.appends).toBeLessThan(changes / 4)
})
