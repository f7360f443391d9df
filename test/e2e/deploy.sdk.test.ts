import type { PowerSyncDatabase } from '@powersync/node'
import { openSync, type SyncDatabase } from '@rockpool/client/node'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { bucketNames, opsOf, Operator, storedPages } from '../support/deploys.ts'
import { startEdge, type Edge } from '../support/edge.ts'
import { Follower, rowsOf } from '../support/follower.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { statusOf } from '../support/status.ts'
import { AUDIENCE, connector, newSecret, powersync, temporaryDirectory, token, until } from '../support/support.ts'

// Deploys of the sync config on the bundle that would be deployed. ROCKPOOL_DEPLOY_ROWS=1000000 makes the other
// definitions large.

const ROWS = Number(process.env.ROCKPOOL_DEPLOY_ROWS ?? 20_000)
const LISTS = 2_000
/** Seconds that the first copy, and the first download, may take. */
const LIMIT = 120 + ROWS / 1_000
const secret = newSecret()
const operator = new Operator(() => edge.url, secret)
let postgres: TestPostgres
let edge: Edge
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let follower: Follower

const TODOS = `  todos:
    parameters: SELECT request.user_id() AS owner
    data:
      - SELECT id, title, owner_id FROM todos WHERE owner_id = bucket.owner
`
const LISTS_OF = `  lists:
    parameters: SELECT request.user_id() AS owner
    data:
      - SELECT id, name, owner_id FROM lists WHERE owner_id = bucket.owner
`
const SHARED = `  shared:
    data:
      - SELECT id, name FROM lists WHERE shared = true
`
const config = (...definitions: string[]) => `bucket_definitions:\n${definitions.join('')}`
const FIRST = config(TODOS, LISTS_OF.replace('lists:', 'other:').replaceAll(' lists ', ' empty '))

beforeAll(async () => {
  directory = await temporaryDirectory()
  postgres = await startPostgres()
  const sql = postgres.sql()
  await sql`create table todos (id text primary key, title text not null, owner_id text not null)`
  await sql`create table lists (id text primary key, name text not null, owner_id text not null, shared boolean not null default false)`
  await sql`create table empty (id text primary key, name text not null, owner_id text not null)`
  await sql`insert into todos select 't' || n, 'todo ' || n, case when n % 2 = 0 then 'alice' else 'bob' end from generate_series(1, ${ROWS}::int) n`
  await sql`insert into lists select 'l' || n, 'list ' || n, case when n % 2 = 0 then 'alice' else 'bob' end, n % 10 = 0 from generate_series(1, ${LISTS}::int) n`
  edge = await startEdge({
    databaseUrl: postgres.url,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    syncConfig: FIRST,
    directory: directory.path,
    bindings: { CATALOG_WATCH_SECONDS: '0.3' },
  })
  follower = new Follower({ url: edge.url, token: () => token(secret, 'alice'), clientId: 'f' })
  await until('the first copy', async () => follower.checkpoints > 0, LIMIT)
}, LIMIT * 2_000)

afterAll(async () => {
  await follower?.close()
  await edge?.dispose()
  await postgres?.stop()
  await directory?.remove()
})

/** Everything that clients of alice should hold of a table. */
async function held(table: string, columns: string): Promise<string> {
  const rows = await postgres
    .sql()
    .unsafe(`select ${columns} from ${table} where owner_id = 'alice' order by id collate "C"`)
  return JSON.stringify(rows.map((row) => Object.values(row)))
}

interface SdkRecord {
  ops: number
  rows: number
  checksum: number
}

/** What an SDK notes of each bucket: ops that it received, rows that it holds, and the sum of checksums. */
async function recordsOf(sdk: PowerSyncDatabase): Promise<Map<string, SdkRecord>> {
  const rows = await sdk.getAll<SdkRecord & { name: string }>(`
    SELECT name, count_at_last + count_since_last AS ops, (add_checksum + op_checksum) & 4294967295 AS checksum,
      (SELECT count(*) FROM ps_oplog WHERE bucket = ps_buckets.id) AS rows
    FROM ps_buckets WHERE name <> '$local'`)
  return new Map(rows.map(({ name, ...record }) => [name, record]))
}

const followed = (name: string, columns: string[]) =>
  JSON.stringify(
    rowsOf(follower.buckets, `#${name}[`)
      .map((row) => columns.map((column) => row[column]))
      .sort(([a], [b]) => (String(a) < String(b) ? -1 : 1)),
  )

test(
  `a definition is added beside ${ROWS} rows of others while rows change: others are not written, and clients download the new buckets only`,
  async () => {
    const sql = postgres.sql()
    const sdk = powersync(directory.path, 'sdk')
    const native: SyncDatabase = await openSync({
      url: edge.url,
      auth: () => token(secret, 'alice'),
      path: `${directory.path}/native.db`,
      schema: {
        tables: {
          todos: { columns: { title: 'text', owner_id: 'text' } },
          lists: { columns: { name: 'text', owner_id: 'text' } },
        },
      },
    })
    let streams = 0
    try {
      const credentials = async () => {
        streams++
        return token(secret, 'alice')
      }
      await sdk.connect(connector(edge.url, credentials), { retryDelayMs: 500 })
      await sdk.waitForFirstSync()
      await until(
        'the native client',
        async () => (await native.query('select count(*) as n from todos'))[0]?.n === ROWS / 2,
        LIMIT,
      )
      const before = await storedPages(directory.path)
      const recorded = await recordsOf(sdk)
      const received = follower.received
      const opened = follower.streams
      expect(streams).toBe(1)

      const { data, status } = await operator.put(config(TODOS, LISTS_OF))
      expect(status).toBe(202)
      expect(data.difference.definitions).toEqual({
        kept: [{ kind: 'data', name: 'todos' }],
        added: [{ kind: 'data', name: 'lists' }],
        removed: [{ kind: 'data', name: 'other' }],
      })
      expect(data.difference.copy.map(({ table }) => table)).toEqual(['public.lists'])
      expect(data.difference.streams).toBe(3)
      // Rows of the table that is copied change meanwhile.
      let writes = 0
      const serves = operator.serves(data.config?.number ?? 0).then(() => (writes = -writes))
      for (let n = 1; writes >= 0; n++) {
        const id = `l${1 + ((n * 7919) % LISTS)}`
        if (n % 5 === 0) await sql`delete from lists where id = ${id}`
        else if (n % 3 === 0)
          await sql`update lists set owner_id = case owner_id when 'alice' then 'bob' else 'alice' end where id = ${id}`
        else
          await sql`insert into lists values (${id}, ${`new ${n}`}, 'alice') on conflict (id) do update set name = excluded.name`
        if (writes >= 0) writes++
      }
      await serves
      expect(writes).toBeLessThan(0)

      const lists = await held('lists', 'id, name')
      await until('the follower', async () => followed('lists', ['id', 'name']) === lists)
      await until('the SDK', async () => {
        const rows = await sdk.getAll<Record<string, unknown>>('select id, name from lists order by id')
        return JSON.stringify(rows.map((row) => Object.values(row))) === lists
      })
      await until('the native client', async () => {
        const rows = await native.query<{ id: string; name: string }>('select id, name from lists order by id')
        return JSON.stringify(rows.map(({ id, name }) => [id, name])) === lists
      })
      // Not a page of the bucket that was there has changed.
      const after = await storedPages(directory.path)
      const kept = [...before.keys()].filter((name) => name.includes('#todos['))
      expect(kept.length).toBe(2)
      for (const name of kept) expect(after.get(name), name).toEqual(before.get(name))
      // On the same connections, each op of the new bucket once, and no other.
      expect(follower.streams).toBe(opened)
      expect(streams).toBe(1)
      const bucket = [...after.keys()].find((name) => name.includes('#lists["alice"]')) ?? ''
      expect(follower.received - received).toBe(await opsOf(directory.path, bucket))
      // The unmodified SDK counts and sums what it downloads: nothing for the bucket that it had, and each op of the
      // new one once.
      const records = await recordsOf(sdk)
      const todos = [...recorded.keys()].find((name) => name.includes('#todos[')) ?? ''
      expect(recorded.get(todos)?.ops).toBe(ROWS / 2)
      expect(records.get(todos)).toEqual(recorded.get(todos))
      expect(records.get(bucket)?.ops).toBe(await opsOf(directory.path, bucket))
      expect(records.get(bucket)?.rows).toBe(JSON.parse(lists).length)
      expect(follower.problems).toEqual([])
    } finally {
      await native.close()
      await sdk.close()
    }
  },
  LIMIT * 3_000,
)

test('comments, formatting, another order and other names: nothing is copied, and no client gets an op', async () => {
  const before = await statusOf(edge.url, secret)
  const received = follower.received
  const pages = await storedPages(directory.path)
  const rewritten = `# A comment.
bucket_definitions:
  renamed:      # It was lists.
    parameters: "SELECT   request.user_id()   AS owner"
    data: [ "SELECT id, name, owner_id FROM lists WHERE (owner_id = bucket.owner)" ]
${TODOS.replace('todos:', 'tasks:')}`
  const { data } = await operator.put(rewritten)
  expect(data.difference.definitions).toEqual({
    kept: [
      { kind: 'data', name: 'renamed' },
      { kind: 'data', name: 'tasks' },
    ],
    added: [],
    removed: [],
  })
  expect(data.difference.copy).toEqual([])
  await operator.serves(data.config?.number ?? 0)
  const commented = await operator.deploy(`# Another comment.\n${rewritten}`)
  expect(commented.plan).toBe(data.difference.plan)
  const after = await statusOf(edge.url, secret)
  await until('the client to be there', async () => follower.checkpoint >= after.checkpoint)
  // The switch is one op id and no op.
  expect(after.checkpoint - before.checkpoint).toBe(1)
  expect(after.written.changes - before.written.changes).toBe(0)
  expect(follower.received).toBe(received)
  expect(await storedPages(directory.path)).toEqual(pages)
})

test('a rollback while the old definitions are maintained is a switch: changes since then are there, and nothing is copied', async () => {
  const sql = postgres.sql()
  await operator.deploy(config(TODOS, SHARED))
  await until('the lists to be gone', async () => rowsOf(follower.buckets, '#lists[').length === 0)
  const changes = (await statusOf(edge.url, secret)).written.changes
  await sql`insert into lists values ('while', 'it was retired', 'alice')`
  await until('the row to be stored', async () => {
    const { written, pendingBatches } = await statusOf(edge.url, secret)
    return written.changes > changes && pendingBatches === 0
  })
  const before = await storedPages(directory.path)
  const { data, status } = await operator.rollback()
  expect(status).toBe(202)
  expect(data.difference?.definitions.added).toEqual([])
  expect(data.difference?.copy).toEqual([])
  const config1 = await operator.serves(data.config?.number ?? 0)
  expect(config1.origin).toBe('rollback')
  expect(await storedPages(directory.path)).toEqual(before)
  const lists = await held('lists', 'id, name')
  await until('the follower', async () => followed('lists', ['id', 'name']) === lists)
  expect(lists).toContain('it was retired')
  expect((await bucketNames(directory.path)).filter((name) => name.includes('#lists["alice"]'))).toHaveLength(1)
  // Once more is not forward again: that is said by its number.
  const further = await operator.rollback('?dry_run=1')
  expect(further.data?.to ?? 0).toBeLessThan(config1.of ?? 0)
  const again = await operator.rollback(`?to=${config1.number - 1}`)
  await operator.serves(again.data.config?.number ?? 0)
  await until('the shared ones', async () => rowsOf(follower.buckets, '#shared[').length > 0)
})
