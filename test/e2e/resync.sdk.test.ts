import { afterAll, beforeAll, expect, test } from 'vitest'
import type { PowerSyncDatabase } from '@powersync/node'
import { Operator } from '../support/deploys.ts'
import { startEdge, type Edge } from '../support/edge.ts'
import { Follower, rowsOf } from '../support/follower.ts'
import { dropSlot, startPostgres, type TestPostgres } from '../support/postgres.ts'
import { Random } from '../support/random.ts'
import { statusOf } from '../support/status.ts'
import { AUDIENCE, connector, newSecret, powersync, temporaryDirectory, token, until } from '../support/support.ts'

// What the slot told so far does not connect to what it will tell: everything is compared, and each difference is
// exactly one op. An unmodified SDK counts what it downloads, and a client of our own counts what the wire brings.

const ROWS = 11_000
const CHANGES = 10_000
const CONFIG = 'bucket_definitions:\n  all:\n    data:\n      - SELECT id, title, owner_id FROM todos\n'
const secret = newSecret()
let postgres: TestPostgres
let edge: Edge
let port: number | undefined
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let follower: Follower
let sdk: PowerSyncDatabase

async function start(databaseUrl: string, bindings: Record<string, string> = {}): Promise<void> {
  edge = await startEdge({
    databaseUrl,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    syncConfig: CONFIG,
    directory: directory.path,
    ...(port === undefined ? {} : { port }),
    // What the SDK counts is what is announced, and compaction makes that less.
    bindings: { COMPACTION_SECONDS: '3600', SLICE_CHANGES: '2000', ...bindings },
  })
  port = Number(new URL(edge.url).port)
}

async function fill(server: TestPostgres): Promise<void> {
  const sql = server.sql()
  await sql`create table todos (id text primary key, title text not null, owner_id text not null)`
  await sql`insert into todos select 't' || n, 'todo ' || n, 'o' from generate_series(1, ${ROWS}::int) n`
}

type Row = [id: string, title: string]
const truthOf = async (server: TestPostgres): Promise<Row[]> =>
  (await server.sql()<{ id: string; title: string }[]>`select id, title from todos order by id collate "C"`).map(
    ({ id, title }) => [id, title],
  )
const held = (): Row[] =>
  rowsOf(follower.buckets, '#all[')
    .map(({ id, title }): Row => [String(id), String(title)])
    .sort(([a], [b]) => (a < b ? -1 : 1))

/** Both clients hold what Postgres holds. */
async function exact(server = postgres): Promise<void> {
  const truth = JSON.stringify(await truthOf(server))
  await until(
    'the follower to be exact',
    async () => JSON.stringify(held()) === truth,
    120,
    async () => [held().length, await statusOf(edge.url, secret)],
  )
  await until('the SDK to be exact', async () => {
    const rows = await sdk.getAll<{ id: string; title: string }>('select id, title from todos order by id')
    return JSON.stringify(rows.map(({ id, title }) => [id, title])) === truth
  })
  expect(follower.problems).toEqual([])
}

/** Ops that the SDK has received of its bucket; a bucket that is downloaded anew begins at nothing. */
async function downloaded(): Promise<number> {
  const [row] = await sdk.getAll<{ ops: number }>(
    "select count_at_last + count_since_last as ops from ps_buckets where name like '%#all[]'",
  )
  return row?.ops ?? 0
}

/** Rows that one state has and the other has not, or otherwise. */
function differing(before: readonly Row[], after: readonly Row[]): number {
  const then = new Map(before)
  const now = new Map(after)
  return (
    [...now].filter(([id, title]) => then.get(id) !== title).length +
    [...then.keys()].filter((id) => !now.has(id)).length
  )
}

/** Both clients get exactly what differs between the two states of the database. */
async function gets(work: () => Promise<TestPostgres | void>): Promise<number> {
  const before = held()
  const counted = [follower.received, await downloaded(), (await statusOf(edge.url, secret)).checkpoint] as const
  const server = await work()
  await exact(server ?? postgres)
  const ops = differing(before, held())
  const { checkpoint, diagnostics } = await statusOf(edge.url, secret)
  expect(diagnostics.counts.ROCKPOOL_RESYNC).toBeGreaterThan(0)
  expect([follower.received - counted[0], (await downloaded()) - counted[1], checkpoint - counted[2]]).toEqual([
    ops,
    ops,
    ops,
  ])
  return ops
}

/** Each row is changed once, so that what happens before the slot is dropped and behind it needs no telling apart. */
function* changes(seed: number): Generator<string> {
  const random = new Random(seed)
  for (let n = 1; n <= CHANGES; n++) {
    const kind = random.int(3)
    if (kind === 0) yield `insert into todos values ('n${seed}-${n}', 'new', 'o')`
    else if (kind === 1) yield `update todos set title = title || ' ${seed}' where id = 't${n}'`
    else yield `delete from todos where id = 't${n}'`
  }
}

const slotFree = () =>
  until(
    'the slot to be free',
    async () => (await postgres.sql()`select 1 from pg_replication_slots where active`).length === 0,
  )

beforeAll(async () => {
  directory = await temporaryDirectory()
  postgres = await startPostgres()
  await fill(postgres)
  await start(postgres.url)
  follower = new Follower({ url: edge.url, token: () => token(secret, 'alice'), clientId: 'f' })
  sdk = powersync(directory.path, 'sdk')
  await sdk.connect(
    connector(edge.url, () => token(secret, 'alice')),
    { retryDelayMs: 200 },
  )
  await exact()
})

afterAll(async () => {
  await sdk?.close()
  await follower?.close()
  await edge?.dispose()
  await postgres?.stop()
  await directory?.remove()
})

test(`the slot is dropped while ${CHANGES} changes happen: clients get exactly the differences`, async () => {
  const ops = await gets(async () => {
    const statements = [...changes(1)]
    const sql = postgres.sql()
    for (let at = 0; at < CHANGES; at += 500) {
      await sql.unsafe(statements.slice(at, at + 500).join(';'))
      if (at === 2_500 || at === 6_000) await dropSlot(sql)
    }
  })
  expect(ops).toBe(CHANGES)
})

test('a resync that is interrupted by kills and cuts: each difference is one op all the same', async () => {
  const ops = await gets(async () => {
    await edge.dispose()
    await slotFree()
    await postgres.sql()`select pg_drop_replication_slot('rockpool')`
    await postgres.sql()`update todos set title = title || '.' where id like 't1%'`
    await postgres.sql()`delete from todos where id like 't19%'`
    const faults = {
      seed: 3,
      eager: 1,
      points: ['read.apply', 'read.marked', 'batch.rows', 'append.answer'],
      kinds: ['abort', 'drop'],
    }
    await start(postgres.url, { FAULTS: JSON.stringify(faults) })
    await until(
      'it to begin',
      async () => (await statusOf(edge.url, secret)).diagnostics.counts.ROCKPOOL_RESYNC === 1,
      60,
    )
    await edge.kill9()
  })
  expect(ops).toBeGreaterThan(1_000)
})

test('a database that is put back to an earlier point: clients go back with it, by the differences', async () => {
  await edge.dispose()
  await slotFree()
  await start(postgres.url)
  await exact()
  const saved = await postgres.saveData()
  await postgres.sql()`update todos set title = 'later' where id like 't2%'`
  await postgres.sql()`insert into todos select 'later' || n, 'x', 'o' from generate_series(1, 500) n`
  await postgres.sql()`delete from todos where id like 't13%'`
  await exact()
  const ops = await gets(() => postgres.restoreData(saved))
  expect(ops).toBeGreaterThan(1_000)
})

test('another cluster at the address: only differences are sent, and nothing for a faithful copy', async () => {
  const other = await startPostgres()
  try {
    await fill(other)
    const rows = await truthOf(postgres)
    await other.sql()`truncate todos`
    await other.sql()`insert into todos select id, title, 'o' from json_to_recordset(${JSON.stringify(rows.map(([id, title]) => ({ id, title })))}::text::json) as r(id text, title text)`
    await edge.dispose()
    await start(postgres.url)
    const ops = await gets(async () => {
      await edge.dispose()
      await other.sql()`update todos set title = 'moved' where id in ('t10501', 't10502')`
      await other.sql()`insert into todos values ('there only', 'x', 'o')`
      await start(other.url)
      return other
    })
    expect(ops).toBe(3)
    const { diagnostics } = await statusOf(edge.url, secret)
    expect(diagnostics.recent.map(({ reason }) => reason)).toContainEqual(
      expect.stringContaining('this is another database server'),
    )
    const { verify } = await new Operator(() => edge.url, secret).verify()
    expect([verify.state, verify.found]).toEqual(['done', 0])
  } finally {
    await edge.dispose()
    await other.stop()
  }
})
