import { afterAll, beforeAll, expect, test } from 'vitest'
import { bucketObjectName } from '../protocol/names.ts'
import { startEdge, type Edge } from './edge.ts'
import { startPostgres, type TestPostgres } from './postgres.ts'
import { openRawStream, type RawClient } from './raw-stream.ts'
import { requestWriteCheckpoint, statusOf } from './status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from './support.ts'

// A bucket that takes no appends any more: those who read it are told, and all others go on.

const secret = newSecret()
let postgres: TestPostgres
let edge: Edge
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
const stops: (() => void)[] = []

beforeAll(async () => {
  directory = await temporaryDirectory()
  postgres = await startPostgres()
  await postgres.sql().unsafe(`
    create table items (id int primary key, owner text, n int);
    insert into items select i, case when i % 2 = 0 then 'alice' else 'bob' end, 0 from generate_series(1, 200) i`)
})
afterAll(async () => {
  for (const stop of stops) stop()
  await edge?.dispose()
  await directory?.remove()
  await postgres?.stop()
})

async function start(bindings: Record<string, string> = {}): Promise<void> {
  await edge?.dispose()
  edge = await startEdge({
    ...{ databaseUrl: postgres.url, jwtSecret: secret, jwtAudience: AUDIENCE, directory: directory.path },
    syncConfig:
      'bucket_definitions:\n  mine:\n    parameters: SELECT request.user_id() AS user_id\n    data:\n      - SELECT id, n FROM items WHERE owner = bucket.user_id\n',
    bindings: { CALL_SECONDS: '0.3', FENCE_SECONDS: '1', ...bindings },
  })
}

async function follow(user: string, buckets: { name: string; after: string }[] = []): Promise<{ client: RawClient; over: Promise<void> }> {
  const opened = await openRawStream(edge.url, await token(secret, user), { client_id: user, buckets })
  stops.push(opened.stop)
  return opened
}

const rows = (client: RawClient) => Object.fromEntries([...client.rows].map(([key, row]) => [key.split('/')[1], row.n]))
async function truth(user: string): Promise<Record<string, unknown>> {
  const found = await postgres.sql()`select id, n from items where owner = ${user}`
  return Object.fromEntries(found.map(({ id, n }) => [String(id), n]))
}
/** Everything committed so far has come. */
async function settled(client: RawClient, user: string): Promise<void> {
  const n = await until('a write checkpoint', async () => requestWriteCheckpoint(edge.url, await token(secret, user), user))
  await client.until(() => (client.writeCheckpoint ?? 0n) >= n)
}

test('a bucket that hangs for ever is fenced: its readers end with a code, others go on, nothing piles up, and it is mended when it answers', async () => {
  await start()
  const sql = postgres.sql()
  const first = await follow('alice')
  await first.client.until(() => first.client.completes > 0)
  const [name = ''] = first.client.buckets
  const at = await bucketObjectName('default', name)
  await start({ FAULTS: JSON.stringify({ seed: 1, rate: 1, fading: false, points: ['bucket.append'], kinds: ['hang'], at }) })

  const alice = await follow('alice')
  const bob = await follow('bob')
  await Promise.all([alice, bob].map(({ client }) => client.until(() => client.completes > 0)))
  const before = { completes: alice.client.completes, rows: rows(alice.client) }
  await sql`update items set n = 1`
  await sql`delete from items where id <= 10`
  await expect(alice.over).rejects.toThrow()
  await settled(bob.client, 'bob')
  expect(rows(bob.client)).toEqual(await truth('bob'))
  expect({ completes: alice.client.completes, rows: rows(alice.client) }).toEqual(before)

  // Whoever comes is told; who reads nothing of it is not concerned.
  await expect(follow('alice')).rejects.toThrow(/503.*ROCKPOOL_BUCKET_FENCED/)
  for (let n = 2; n < 12; n++) await sql`update items set n = ${n}`
  await sql`insert into items select i, 'alice', 7 from generate_series(1001, 1050) i`
  await settled(bob.client, 'bob')
  const status = await statusOf(edge.url, secret)
  expect(status.fencedBuckets).toEqual([{ bucket: name, since: expect.any(String), state: 'silent' }])
  expect(status.diagnostics.counts.ROCKPOOL_BUCKET_FENCED).toBe(1)
  expect(status).toMatchObject({ pendingBatches: 0, held: { sending: 0 } })

  // It answers again. The relay, the clients and the replicator's memory are gone; the fence is not.
  await start()
  const later = await until(
    'alice to be served',
    () => follow('alice'),
    60,
    () => statusOf(edge.url, secret),
  )
  await later.client.until(() => later.client.completes > 0)
  expect(rows(later.client)).toEqual(await truth('alice'))
  expect(await statusOf(edge.url, secret)).toMatchObject({ fencedBuckets: [], pendingBatches: 0 })
  await sql`update items set n = 100`
  await settled(later.client, 'alice')
  expect(rows(later.client)).toEqual(await truth('alice'))
})
