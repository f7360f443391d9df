import { afterAll, beforeAll, expect, test } from 'vitest'
import { openSync, type SyncDatabase } from '@rockpool/client/node'
import { startEdge, type Edge } from '../support/edge.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { statusOf } from '../support/status.ts'
import { AUDIENCE, connector, newSecret, powersync, temporaryDirectory, token, until } from '../support/support.ts'

const ROWS = 30_000
const TRANSACTIONS = 2_000
const syncConfig = `
bucket_definitions:
  mine:
    parameters: SELECT request.user_id() AS user_id
    data:
      - SELECT id, name, owner_id, shared FROM lists WHERE owner_id = bucket.user_id
  shared:
    data:
      - SELECT id, name, owner_id, shared FROM lists WHERE shared = true
`
const secret = newSecret()
let postgres: TestPostgres
let edge: Edge | undefined
let directory: Awaited<ReturnType<typeof temporaryDirectory>>

beforeAll(async () => {
  directory = await temporaryDirectory()
  postgres = await startPostgres()
  const sql = postgres.sql()
  await sql`create table lists (id text primary key, name text not null, owner_id text not null, shared boolean not null default false)`
  await sql`insert into lists select 'r' || n, repeat('x', 100) || n, case when n % 2 = 0 then 'alice' else 'bob' end, n % 10 = 0 from generate_series(1, ${ROWS}::int) n`
})

afterAll(async () => {
  await edge?.dispose()
  await postgres?.stop()
  await directory?.remove()
})

test(`the first copy runs while ${TRANSACTIONS} transactions change the same rows, with a kill in the middle: all clients end exact`, async () => {
  const sql = postgres.sql()
  edge = await startEdge({
    databaseUrl: postgres.url,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    syncConfig,
    directory: directory.path,
  })
  const { url } = edge
  let sawCopying = false
  const watch = async (): Promise<void> => {
    const response = await fetch(`${url}/status`, { headers: { authorization: `Token ${await token(secret, 'ops')}` } })
    const { data }: { data: { state: string; copy: unknown } } = await response.json()
    if (data.copy !== null) sawCopying = true
  }
  const native: SyncDatabase = await openSync({
    url,
    auth: () => token(secret, 'alice'),
    path: `${directory.path}/native.db`,
    schema: { tables: { lists: { columns: { name: 'text', owner_id: 'text', shared: 'boolean' } } } },
  })
  const alice = powersync(directory.path, 'alice')
  const bob = powersync(directory.path, 'bob')
  let mismatches = 0
  native.on('mismatch', () => mismatches++)
  try {
    // Nobody is connected before the copy is complete, so this is not waited for.
    const connecting = Promise.all(
      (
        [
          [alice, 'alice'],
          [bob, 'bob'],
        ] as const
      ).map(([database, user]) =>
        database.connect(
          connector(url, () => token(secret, user)),
          { retryDelayMs: 500 },
        ),
      ),
    )
    const random = (n: number, range: number) => (Math.imul(n + 1, 2654435761) % range) >>> 0 || 1
    const writer = async (w: number): Promise<void> => {
      for (let n = w; n < TRANSACTIONS; n += 4) {
        const id = `r${1 + (random(n, 1_000_003) % ROWS)}`
        const other = `r${1 + (random(n + 7, 999_983) % ROWS)}`
        // Rows move over the whole table, change owner, vanish and come back.
        if (n % 7 === 0) await sql`delete from lists where id = ${id}`
        else if (n % 3 === 0)
          await sql`update lists set owner_id = case owner_id when 'alice' then 'bob' else 'alice' end, name = ${`m${n}`} where id in (${id}, ${other})`
        else
          await sql`insert into lists values (${id}, ${`n${n}`}, ${n % 2 ? 'alice' : 'bob'}, ${n % 5 === 0}) on conflict (id) do update set name = excluded.name, shared = excluded.shared`
        if (n % 50 === w) await watch().catch(() => {})
        if (n === 500) await edge?.kill9()
      }
    }
    await Promise.all([writer(0), writer(1), writer(2), writer(3)])
    await connecting
    type Row = { id: string; name: string; owner_id: string; shared: number }
    const query = 'select id, name, owner_id, shared from lists order by id'
    const held = (rows: Row[]): string => JSON.stringify(rows.map((r) => [r.id, r.name, r.owner_id, Number(r.shared)]))
    const truth = async (user: string): Promise<string> =>
      held(
        await sql<
          Row[]
        >`select id, name, owner_id, shared::int as shared from lists where owner_id = ${user} or shared order by id collate "C"`,
      )
    const wanted = { alice: await truth('alice'), bob: await truth('bob') }
    await until('alice to be exact', async () => held(await alice.getAll<Row>(query)) === wanted.alice, 120)
    await until('bob to be exact', async () => held(await bob.getAll<Row>(query)) === wanted.bob, 120)
    await until('the native client to be exact', async () => held(await native.query<Row>(query)) === wanted.alice, 120)
    expect(mismatches).toBe(0)
    expect(sawCopying, 'the transactions ran while the copy did').toBe(true)
  } finally {
    await native.close()
    await alice.close()
    await bob.close()
  }
})

test('I8: a copy of rows that are in 40 buckets each: however many ops a chunk becomes, those on their way to buckets stay few', async () => {
  const sql = postgres.sql()
  await sql`create table docs (id int primary key, body text, members jsonb)`
  await sql`
    insert into docs select i, repeat('x', 300), (select jsonb_agg('u' || u) from generate_series(1, 40) u) from generate_series(1, 4000) i`
  await edge?.dispose()
  edge = await startEdge({
    databaseUrl: postgres.url,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    directory: `${directory.path}/fan`,
    syncConfig:
      'bucket_definitions:\n  mine:\n    parameters: SELECT request.user_id() AS u\n    data:\n      - SELECT id, body FROM docs WHERE bucket.u IN docs.members\n',
    bindings: { SLOT: 'fan' },
  })
  const { url } = edge
  const copied = await until(
    'the copy',
    async () => {
      const status = await statusOf(url, secret)
      // Nobody is connected: the session may be over when it is looked at.
      const done = status.plan !== null && status.copy === null && status.pendingBatches === 0
      return done && status.checkpoint >= 160_000 && status
    },
    120,
    () => statusOf(url, secret),
  )
  // Two slices of 4 MB and what one row adds, of 60 MB.
  expect(copied.held.peakSending).toBeGreaterThan(1024 * 1024)
  expect(copied.held.peakSending).toBeLessThan(9 * 1024 * 1024)
})
