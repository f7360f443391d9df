import { SyncStreamConnectionMethod } from '@powersync/common'
import { PowerSyncDatabase } from '@powersync/node'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { VerifyAnswer } from '../../protocol/verification.ts'
import { DirectFollower } from '../support/direct-follower.ts'
import { Operator } from '../support/deploys.ts'
import { startEdge, type Edge } from '../support/edge.ts'
import { Follower } from '../support/follower.ts'
import { olderRelease } from '../older-release/bundle.ts'
import { openRawStream } from '../support/raw-stream.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { requestWriteCheckpoint, statusOf } from '../support/status.ts'
import { appSchema, AUDIENCE, connector, newSecret, temporaryDirectory, token, until } from '../support/support.ts'

// The release before this one has written a storage, and this one goes on with it; back again, and forward again. The
// tests are steps of one story.
// The file is long because one storage goes through several releases.

const CONFIG = `bucket_definitions:
  news:
    data:
      - SELECT id, name, owner_id FROM lists WHERE owner_id = 'news'
  mine:
    parameters: SELECT request.user_id() AS user_id
    data:
      - SELECT id, name, owner_id FROM lists WHERE owner_id = bucket.user_id
  owned:
    parameters: SELECT id AS list_id FROM lists WHERE owner_id = request.user_id()
    data:
      - SELECT id, list_id, title FROM todos WHERE list_id = bucket.list_id
`
const ROWS = 90
const secret = newSecret()
const operator = new Operator(() => edge.url, secret)
const alice = () => token(secret, 'alice')
let postgres: TestPostgres
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let older: string
let edge: Edge
let port: number | undefined
let lines: Follower
let direct: DirectFollower
let sdk: PowerSyncDatabase
/** Ops that the SDK was sent. */
let sent = 0

async function start(release: 'older' | 'this'): Promise<void> {
  edge = await startEdge({
    databaseUrl: postgres.url,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    syncConfig: CONFIG,
    directory: `${directory.path}/edge`,
    ...(port === undefined ? {} : { port }),
    ...(release === 'older' ? { bundle: older } : {}),
    // Ops are counted.
    bindings: { COMPACTION_SECONDS: '3600' },
  })
  port = Number(new URL(edge.url).port)
}

/** The process ends in the middle of whatever it does, and the other release takes its storage. */
async function replaced(release: 'older' | 'this', meanwhile: () => Promise<unknown> = async () => {}): Promise<void> {
  process.kill(edge.pid(), 'SIGKILL')
  await edge.dispose()
  await meanwhile()
  await start(release)
}

/** The SDK's own fetch, over NDJSON, with a look at what comes. */
const counting: typeof fetch = async (resource, init) => {
  const headers = new Headers(init?.headers)
  if (headers.get('accept')?.includes('bson')) headers.set('accept', 'application/x-ndjson')
  const response = await fetch(resource, { ...init, headers })
  if (!response.headers.get('content-type')?.includes('ndjson') || !response.body) return response
  const decoder = new TextDecoder()
  let rest = ''
  const look = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      const texts = (rest + decoder.decode(chunk, { stream: true })).split('\n')
      rest = texts.pop() ?? ''
      for (const text of texts) sent += (JSON.parse(text) as { data?: { data: unknown[] } }).data?.data.length ?? 0
      controller.enqueue(chunk)
    },
  })
  return new Response(response.body.pipeThrough(look), response)
}

const textOf = ({ id, name, title }: Record<string, unknown>) => `${String(id)} ${String(name ?? title)}`

/** What a follower holds, row by row: one that is there twice stands there twice. */
const held = ({ buckets }: { buckets: Follower['buckets'] }) =>
  [...buckets.values()]
    .flatMap(({ rows }) => [...rows.values()].map((data) => textOf(JSON.parse(data) as Record<string, unknown>)))
    .sort()

const shown = async () => {
  const rows = await sdk.getAll<Record<string, unknown>>(
    'SELECT id, name, NULL AS title FROM lists UNION ALL SELECT id, NULL, title FROM todos',
  )
  return rows.map(textOf).sort()
}

async function truth(): Promise<{ all: string[]; mine: string[] }> {
  const sql = postgres.sql()
  const mine = await sql`select id, name from lists where owner_id = 'alice'`
  const rest = await sql`
    select id, name from lists where owner_id = 'news'
    union all select id, title from todos where list_id in (select id from lists where owner_id = 'alice')`
  return { all: [...mine, ...rest].map(textOf).sort(), mine: mine.map(textOf).sort() }
}

const state = async () => ({
  lines: lines.state,
  direct: direct.state,
  sdk: sdk.currentStatus,
  status: await statusOf(edge.url, secret),
})

/** Until the line follower has everything that was committed before. */
async function settled(client = lines, clientId = 'lines'): Promise<void> {
  const n = await until('a write checkpoint', async () => requestWriteCheckpoint(edge.url, await alice(), clientId))
  await until(`write checkpoint ${n}`, async () => client.writeCheckpoint >= n, 60, state)
}

/**
 * A row is written on the device, and uploaded. It shows changes of others again when its write checkpoint has come.
 */
async function writesOnDevice(id: string): Promise<void> {
  await sdk.execute("INSERT INTO lists (id, name, owner_id) VALUES (?, 'of the device', 'alice')", [id])
  await until(
    'the upload',
    async () => (await postgres.sql()`select 1 from lists where id = ${id}`).length > 0,
    30,
    state,
  )
}

/**
 * What a stream that begins now says of the write checkpoint of a client that has asked for one (before this call, or
 * in it).
 */
async function writtenOn(clientId: string, asks = true): Promise<bigint | null> {
  const n = asks ? await requestWriteCheckpoint(edge.url, await alice(), clientId) : null
  const { client, stop } = await openRawStream(edge.url, await alice(), { client_id: clientId })
  await client.until(() => client.completes > 0 && (n === null || client.writeCheckpoint === n))
  stop()
  return client.writeCheckpoint
}

/** All clients are what Postgres says. */
async function inStep(): Promise<void> {
  await settled()
  const { all, mine } = await truth()
  await until('the SDK', async () => JSON.stringify(await shown()) === JSON.stringify(all), 15, state)
  await until('the direct stream', async () => JSON.stringify(held(direct)) === JSON.stringify(mine), 60, state)
  expect(held(lines)).toEqual(all)
  expect(await sdk.getAll('SELECT * FROM ps_crud')).toEqual([])
  expect(lines.problems).toEqual([])
  expect(direct.problems).toEqual([])
}

let counted = { lines: 0, direct: 0, sdk: 0 }
/** Ops that came since the last call. */
function came(): typeof counted {
  const now = { lines: lines.received, direct: direct.received, sdk: sent }
  const since = { lines: now.lines - counted.lines, direct: now.direct - counted.direct, sdk: now.sdk - counted.sdk }
  counted = now
  return since
}

/** A client that has nothing yet. */
async function newcomer(): Promise<string[]> {
  const client = new Follower({ url: edge.url, token: alice, clientId: 'new' })
  try {
    await until('a newcomer', async () => client.checkpoints > 0)
    await settled(client, 'new')
    expect(client.problems).toEqual([])
    return held(client)
  } finally {
    await client.close()
  }
}

beforeAll(async () => {
  directory = await temporaryDirectory(true)
  older = await olderRelease(directory.path, 'e2bf3d9')
  postgres = await startPostgres()
  const sql = postgres.sql()
  await sql`create table lists (id text primary key, name text, owner_id text not null)`
  await sql`create table todos (id text primary key, list_id text not null, title text)`
  await sql`insert into lists select 'old ' || n, 'v1', (array['alice', 'news', 'bob'])[1 + n % 3] from generate_series(1, ${ROWS}::int) n`
  await sql`insert into todos select 'old todo ' || n, 'old ' || n, 'v1' from generate_series(1, ${ROWS}::int) n`
  await start('older')
  lines = new Follower({ url: edge.url, token: alice, clientId: 'lines' })
  direct = new DirectFollower({ url: edge.url, token: alice, part: '#mine[' })
  sdk = new PowerSyncDatabase({
    schema: appSchema,
    database: { dbFilename: 'sdk.db', dbLocation: directory.path, implementation: { type: 'node:sqlite' } },
    remoteOptions: { customFetch: counting },
  })
  const upload = connector(edge.url, alice, async (database) => {
    for (let tx = await database.getNextCrudTransaction(); tx; tx = await database.getNextCrudTransaction()) {
      for (const { id, opData } of tx.crud)
        await sql`insert into lists values (${id}, ${opData?.name ?? ''}, 'alice') on conflict do nothing`
      await tx.complete()
    }
  })
  void sdk.connect(upload, { retryDelayMs: 100, connectionMethod: SyncStreamConnectionMethod.HTTP }).catch(() => {})
})

afterAll(async () => {
  await Promise.all([lines?.close(), direct?.close(), sdk?.close()])
  if (edge) process.kill(edge.pid(), 'SIGKILL')
  await edge?.dispose()
  await postgres?.stop()
  await directory?.remove()
})

const THIRD = ROWS / 3
const ops = (n: number, ofDirect = n) => ({ lines: n, direct: ofDirect, sdk: n })

test('what the older release stored and sent', async () => {
  await inStep()
  expect(came()).toEqual(ops(3 * THIRD, THIRD))
  const sql = postgres.sql()
  await writesOnDevice('device a')
  await sql`update lists set name = 'v2' where id in ('old 3', 'old 4')`
  await sql`delete from lists where id = 'old 6'`
  await inStep()
  // `old 4` is of `news`; with `old 6` its todo goes out of sight, but its bucket is not sent any more.
  expect(came()).toEqual(ops(4, 3))
})

test('this release continues with it while rows change: streams reconnect, and are sent only the changes', async () => {
  const sql = postgres.sql()
  await replaced('this', () => sql`update lists set name = 'while nothing ran' where id = 'old 9'`)
  await inStep()
  expect(came()).toEqual(ops(1))
  expect([lines.streams, direct.streams]).toEqual([2, 2])
  await sql`insert into lists select 'new ' || n, 'v1', 'alice' from generate_series(1, 6) n`
  await sql`insert into todos select 'new todo ' || n, 'new 2', 'v1' from generate_series(1, 2) n`
  await sql`update lists set name = 'v3' where id in ('old 3', 'old 12', 'old 15')`
  await sql`delete from lists where id = 'old 21'`
  await writesOnDevice('device b')
  await inStep()
  expect(came()).toEqual(ops(6 + 2 + 3 + 1 + 1, 6 + 3 + 1 + 1))
  expect(await writtenOn('late')).toBeGreaterThan(0n)
  await edge.kill9()
  expect(await newcomer()).toEqual((await truth()).all)
  // Neither an upgrade nor a crash is taken for a way back.
  expect((await operator.ask<VerifyAnswer>('GET', 'verify')).data.verify).toBe(null)
})

/** What a client says of the rows that Postgres has: those that it should not have, and those that it lacks. */
const wrong = (rows: readonly string[], all: readonly string[]) => ({
  more: rows.filter((row) => !all.includes(row)),
  less: all.filter((row) => !rows.includes(row)),
})

test('back at it: it takes the wrapped identity for that of another server, and compares everything: clients lack nothing', async () => {
  const sql = postgres.sql()
  await replaced('older', () => sql`update lists set name = 'while nothing ran again' where id = 'old 9'`)
  await until(
    'the comparison',
    async () => (await statusOf(edge.url, secret)).diagnostics.counts.ROCKPOOL_RESYNC === 1,
    60,
    state,
  )
  await sql`insert into lists values ('back 1', 'v1', 'alice')`
  await sql`update lists set name = 'back' where id in ('old 3', 'new 1')`
  await sql`delete from lists where id in ('old 12', 'new 2')`
  await settled()
  const { all } = await truth()
  // Rows that this release has put into a bucket do not leave it, and of what it had not written it makes others.
  expect(wrong(held(lines), all).less).toEqual([])
  expect(wrong(await newcomer(), all).less).toEqual([])
  expect(lines.problems).toEqual([])
})

/** What devices had, and what they were told. */
async function mended(number: number): Promise<void> {
  const { verify } = await until(
    'the verification',
    async () => {
      const found = await operator.ask<VerifyAnswer>('GET', 'verify')
      return (found.data.verify?.number === number && found.data.verify.state !== 'running' && found.data) || false
    },
    15,
    state,
  )
  expect(verify).toMatchObject({ state: 'done', repair: true, phase: 'mending' })
  expect(verify?.by).toBe(undefined)
  // A stream may begin before that: it is told the number of before for a moment.
  const problems = lines.problems.splice(0)
  expect(problems.filter((each) => !/^write checkpoint \d+ came after/.test(each))).toEqual([])
  await inStep()
  expect(await newcomer()).toEqual((await truth()).all)
  expect((await operator.verify()).verify.counts).toEqual({})
}

test('forward again: it is noticed, and everything that the older release has left is mended', async () => {
  await replaced('this')
  await mended(1)
  const { diagnostics } = await statusOf(edge.url, secret)
  // Its bare state is read, so nothing is compared for that.
  expect(diagnostics.counts.ROCKPOOL_RESYNC).toBe(1)
})
