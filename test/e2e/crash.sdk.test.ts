import { afterAll, beforeAll, expect, test } from 'vitest'
import { openSync } from '@rockpool/client/node'
import { startEdge } from '../support/edge.ts'
import type { Edge } from '../support/edge.ts'
import { startPostgres } from '../support/postgres.ts'
import type { TestPostgres } from '../support/postgres.ts'
import { AUDIENCE, connector, newSecret, powersync, temporaryDirectory, token, until } from '../support/support.ts'
import { generator } from '../support/random.ts'

const TRANSACTIONS = 10_000
const WRITERS = 4
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
let edge: Edge
let directory: { path: string; remove(): Promise<void> }

beforeAll(async () => {
  directory = await temporaryDirectory()
  postgres = await startPostgres()
  await postgres.sql()`create table lists (id text primary key, name text not null, owner_id text not null, shared boolean not null default false)`
  edge = await startEdge({
    databaseUrl: postgres.url,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    syncConfig,
    directory: `${directory.path}/edge`,
  })
})

afterAll(async () => {
  await edge?.dispose()
  await postgres?.stop()
  await directory?.remove()
})

/** One small transaction of a repeatable pseudo-random kind: insert, update, move to another owner, delete. */
async function transact(n: number, random: () => number): Promise<void> {
  const sql = postgres.sql()
  const id = `r${Math.floor(random() * 800)}`
  const owner = random() < 0.5 ? 'alice' : 'bob'
  const shared = random() < 0.2
  const dice = random()
  if (dice < 0.15) await sql`delete from lists where id = ${id}`
  else {
    await sql`insert into lists (id, name, owner_id, shared) values (${id}, ${`v${n}`}, ${owner}, ${shared})
      on conflict (id) do update set name = excluded.name, owner_id = excluded.owner_id, shared = excluded.shared`
  }
}

test(`I6: ${TRANSACTIONS} transactions, workerd killed and Postgres restarted in the middle: every client ends with the rows of Postgres`, async () => {
  const native = await openSync({
    url: edge.url,
    auth: () => token(secret, 'alice'),
    path: `${directory.path}/native.db`,
    schema: { tables: { lists: { columns: { name: 'text', owner_id: 'text', shared: 'boolean' } } } },
  })
  const alice = powersync(directory.path, 'alice')
  const bob = powersync(directory.path, 'bob')
  let mismatches = 0
  native.on('mismatch', () => mismatches++)
  try {
    await alice.connect(
      connector(edge.url, () => token(secret, 'alice')),
      { retryDelayMs: 500 },
    )
    await bob.connect(
      connector(edge.url, () => token(secret, 'bob')),
      { retryDelayMs: 500 },
    )

    let done = 0
    let failed = 0
    const events = new Map<number, () => Promise<void>>([
      [Math.floor(TRANSACTIONS * 0.25), () => edge.kill9()],
      [Math.floor(TRANSACTIONS * 0.5), () => postgres.restart()],
      [Math.floor(TRANSACTIONS * 0.7), () => edge.kill9()],
    ])
    const happened: Promise<void>[] = []
    const writer = async (w: number): Promise<void> => {
      const random = generator(w + 1)
      for (let n = w; n < TRANSACTIONS; n += WRITERS) {
        for (;;) {
          try {
            await transact(n, random)
            break
          } catch {
            failed++ // Postgres is restarting: the application tries again
            await new Promise((resolve) => setTimeout(resolve, 50))
          }
        }
        const event = events.get(++done)
        if (event) happened.push(event())
      }
    }
    await Promise.all(Array.from({ length: WRITERS }, (_, w) => writer(w)))
    await Promise.all(happened)
    expect(happened).toHaveLength(3)

    const truth = async (user: string): Promise<string> =>
      JSON.stringify(
        (
          await postgres.sql()`select id, name, owner_id, shared::int as shared from lists where owner_id = ${user} or shared order by id collate "C"`
        ).map((r) => [r.id, r.name, r.owner_id, r.shared]),
      )
    type Row = { id: string; name: string; owner_id: string; shared: number }
    const held = (rows: Row[]): string => JSON.stringify(rows.map((r) => [r.id, r.name, r.owner_id, Number(r.shared)]))
    const query = 'select id, name, owner_id, shared from lists order by id'
    const wanted = { alice: await truth('alice'), bob: await truth('bob') }
    expect(wanted.alice.length).toBeGreaterThan(1000)
    await until('alice to be exact', async () => held(await alice.getAll<Row>(query)) === wanted.alice, 180)
    await until('bob to be exact', async () => held(await bob.getAll<Row>(query)) === wanted.bob, 180)
    await until('the native client to be exact', async () => held(await native.query<Row>(query)) === wanted.alice, 180)

    // A client that comes new downloads the same: what the buckets hold is what Postgres holds, with checksums that
    // fit.
    const fresh = powersync(directory.path, 'fresh')
    try {
      await fresh.connect(connector(edge.url, () => token(secret, 'alice')))
      await fresh.waitForFirstSync()
      expect(held(await fresh.getAll<Row>(query))).toBe(wanted.alice)
    } finally {
      await fresh.close()
    }
    expect(mismatches, `checksum mismatches (writers repeated ${failed} transactions)`).toBe(0)
  } finally {
    await native.close()
    await alice.close()
    await bob.close()
  }
})
