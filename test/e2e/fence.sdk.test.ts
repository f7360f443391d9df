import { afterAll, beforeAll, expect, test } from 'vitest'
import { bucketObjectName } from '../../protocol/names.ts'
import { startEdge, type Edge } from '../support/edge.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { Operator } from '../support/deploys.ts'
import { openRawStream, type RawClient } from '../support/raw-stream.ts'
import { requestWriteCheckpoint, statusOf } from '../support/status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support/support.ts'

// A bucket that takes no appends any more: those who read it are told, and all others go on.

const secret = newSecret()
let postgres: TestPostgres
let edge: Edge
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
const operator = new Operator(() => edge.url, secret)
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

const MINE =
  '  mine:\n    parameters: SELECT request.user_id() AS user_id\n    data:\n      - SELECT id, n FROM items WHERE owner = bucket.user_id\n'
/** Every append hangs, or those of one bucket. */
const hanging = (at?: string) => ({
  FAULTS: JSON.stringify({
    seed: 1,
    rate: 1,
    fading: false,
    points: ['bucket.append'],
    kinds: ['hang'],
    ...(at === undefined ? {} : { at }),
  }),
})

/** `more`: further definitions. */
async function start(bindings: Record<string, string> = {}, more = ''): Promise<void> {
  await edge?.dispose()
  edge = await startEdge({
    databaseUrl: postgres.url,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    directory: directory.path,
    syncConfig: `bucket_definitions:\n${MINE}${more}`,
    bindings: { CALL_SECONDS: '0.3', FENCE_SECONDS: '1', ...bindings },
  })
}

async function follow(
  user: string,
  buckets: { name: string; after: string }[] = [],
): Promise<{ client: RawClient; over: Promise<void> }> {
  const opened = await openRawStream(edge.url, await token(secret, user), { client_id: user, buckets })
  stops.push(opened.stop)
  return opened
}

const rows = (client: RawClient) => Object.fromEntries([...client.rows].map(([key, row]) => [key.split('/')[1], row.n]))
async function truth(user: string): Promise<Record<string, unknown>> {
  const found = await postgres.sql()`select id, n from items where owner = ${user}`
  return Object.fromEntries(found.map(({ id, n }) => [String(id), n]))
}
/** Comes as soon as that is not refused, and has everything. */
async function served(user: string) {
  const opened = await until(
    `${user} to be served`,
    () => follow(user),
    60,
    () => statusOf(edge.url, secret),
  )
  await opened.client.until(() => opened.client.completes > 0)
  expect(rows(opened.client)).toEqual(await truth(user))
  return opened
}
/** Everything committed so far has come. */
async function settled(client: RawClient, user: string): Promise<void> {
  const n = await until('a write checkpoint', async () =>
    requestWriteCheckpoint(edge.url, await token(secret, user), user),
  )
  await client.until(() => (client.writeCheckpoint ?? 0n) >= n)
}

test('buckets that accept nothing of the first copy: it is served anyway, but to no client that has them, and they get all of it when they answer', async () => {
  await start(hanging())
  const fenced = () =>
    statusOf(edge.url, secret).then(
      ({ fencedBuckets, plan }) => plan !== null && fencedBuckets.map(({ state }) => state),
    )
  expect(await until('it to be served', fenced)).toEqual(['silent', 'silent'])
  for (const user of ['alice', 'bob']) await expect(follow(user)).rejects.toThrow(/503.*ROCKPOOL_BUCKET_FENCED/)
  await start()
  for (const user of ['alice', 'bob']) await served(user)
  expect((await statusOf(edge.url, secret)).fencedBuckets).toEqual([])
})

test('a bucket that hangs for ever is fenced: its readers end with a code, others continue, nothing piles up, and it is repaired when it answers', async () => {
  await start()
  const sql = postgres.sql()
  const first = await follow('alice')
  await first.client.until(() => first.client.completes > 0)
  const [name = ''] = first.client.buckets
  const at = await bucketObjectName('default', name)
  await start(hanging(at))

  const alice = await follow('alice')
  const bob = await follow('bob')
  await Promise.all([alice, bob].map(({ client }) => client.until(() => client.completes > 0)))
  const { ROCKPOOL_BUCKET_FENCED: told = 0 } = (await statusOf(edge.url, secret)).diagnostics.counts
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
  expect(status.diagnostics.counts.ROCKPOOL_BUCKET_FENCED).toBe(told + 1)
  expect(status).toMatchObject({ pendingBatches: 0, held: { sending: 0 } })

  const verified = await operator.verify()
  expect(verified.verify).toMatchObject({ state: 'done', by: 'ops', found: 0 })

  // It answers again. The relay, the clients and the replicator's memory are gone; the fence is not.
  await start()
  const later = await served('alice')
  expect(await statusOf(edge.url, secret)).toMatchObject({ fencedBuckets: [], pendingBatches: 0 })
  expect((await operator.ask('GET', 'verify')).data).toEqual(verified)
  await sql`update items set n = 100`
  await settled(later.client, 'alice')
  expect(rows(later.client)).toEqual(await truth('alice'))
})

test('buckets that take nothing while a sync config is deployed, and answer while the next one is: they are compared behind it, also the new ones', async () => {
  const more = (...names: string[]) =>
    names
      .map((name) => MINE.replace('mine:', `${name}:`).replace('id, n FROM', `'${name}' || id AS id, n FROM`))
      .join('')
  const serving = async (number: number, fenced: number) => {
    const { deploy, fencedBuckets } = await statusOf(edge.url, secret)
    return deploy.serving?.number === number && fencedBuckets.length === fenced
  }
  const before = (await operator.configs()).serving?.number ?? 0
  await start(hanging(), more('second'))
  await until('the second to serve without its buckets', () => serving(before + 1, 2), 60)
  // She has no rows; while she is here changes come at once.
  await follow('carol')
  await postgres.sql()`update items set n = n + 1`
  await until('all to be fenced', () => serving(before + 1, 4))
  await postgres.sql()`delete from items where id % 7 = 0`
  await start({}, more('second', 'third'))
  await until('the third to serve, and all to be compared', () => serving(before + 2, 0), 60)
  for (const user of ['alice', 'bob']) {
    const { client } = await until(`${user} to be served`, () => follow(user), 60)
    await settled(client, user)
    const all = await truth(user)
    expect(rows(client)).toEqual(
      Object.fromEntries(
        Object.entries(all).flatMap(([id, n]) => ['', 'second', 'third'].map((name) => [`${name}${id}`, n])),
      ),
    )
  }
  expect((await statusOf(edge.url, secret)).fencedBuckets).toEqual([])
})
