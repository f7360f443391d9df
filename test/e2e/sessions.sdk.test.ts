import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Operator } from '../support/deploys.ts'
import { DocsClient } from '../support/docs-client.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { requestWriteCheckpoint } from '../support/status.ts'
import { token } from '../support/support.ts'

// Sessions with Postgres: how they follow one another, with and without somebody who is connected.

const HOUR = { IDLE_POLL_SECONDS: '3600', LINGER_SECONDS: '0' }
let postgres: TestPostgres
let docs: DocsClient

beforeAll(async () => {
  postgres = await startPostgres()
})
afterAll(() => postgres?.stop())
beforeEach(async () => {
  docs = new DocsClient(postgres)
  await docs.prepare(10)
})
afterEach(() => docs?.dispose())

describe('live', () => {
  test('sessions are renewed while a writer writes: nothing is lost or repeated', async () => {
    await docs.start({ bindings: { SESSION_SECONDS: '1' } })
    await docs.connect()
    await docs.exact()
    const before = await docs.status()
    const sql = postgres.sql()
    let id = 100
    let renewals = 0
    while (renewals < 5) {
      for (let i = 0; i < 25; i++) await sql`insert into docs values (${++id})`
      renewals = (await docs.status()).session.count - before.session.count
    }
    await docs.exact()
    const after = await docs.status()
    // An op for each row, and none for a row that came again.
    expect(after.checkpoint - before.checkpoint).toBe(id - 100)
    expect(after.diagnostics.counts).toEqual({})
    expect(after.session.failures).toBe(0)
  })

  test('requests that need Postgres are answered while one session follows another', async () => {
    await docs.start({ bindings: { SESSION_SECONDS: '1' } })
    await docs.connect()
    await docs.exact()
    const operator = new Operator(() => docs.edge.url, docs.secret)
    const { yaml } = await operator.configs()
    const bearer = await token(docs.secret, 'alice')
    const { session } = await docs.status()
    let renewals = 0
    const during = async (ask: () => Promise<unknown>): Promise<void> => {
      while (renewals < 5) await ask()
    }
    const check = async () => expect((await operator.put(yaml, '?dry_run=1')).error).toBeUndefined()
    await Promise.all([
      during(async () => (renewals = (await docs.status()).session.count - session.count)),
      during(() => requestWriteCheckpoint(docs.edge.url, bearer, 'c1')),
      ...Array.from({ length: 4 }, () => during(check)),
    ])
  })

  test('a transaction that is too large for one session takes several, and is seen as one', async () => {
    const rows = 60_000
    await docs.start({ bindings: { SESSION_CHANGES: '20000' } })
    await docs.connect()
    const before = await docs.status()
    await postgres.sql()`insert into docs select n from generate_series(1001, ${1000 + rows}) n`
    const counts = new Set<number>()
    const after = await docs.until('the transaction', (status) => {
      counts.add(status.checkpoint - before.checkpoint)
      return status.checkpoint - before.checkpoint >= rows
    })
    expect([...counts].filter((n) => n !== 0)).toEqual([rows])
    // Each begins again at the transaction's start, and goes on behind what is stored.
    expect(after.session.count - before.session.count).toBeGreaterThanOrEqual(2)
    await docs.exact()
  })
})

test('copying counts as work of a session: a large copy takes several', async () => {
  await docs.prepare(40_000)
  await docs.start({ bindings: { SESSION_CHANGES: '10000' } })
  const { session } = await docs.until('the copy', ({ plan }) => plan !== null)
  expect(session.count).toBeGreaterThanOrEqual(3)
  expect(session.failures).toBe(0)
  await docs.connect()
  await docs.exact()
})

describe('idle', () => {
  test('polls that find nothing have growing pauses, and are counted; a change resets them', async () => {
    await docs.start({ bindings: { IDLE_POLL_SECONDS: '1', IDLE_POLL_MAX_SECONDS: '2', LINGER_SECONDS: '0' } })
    const first = await docs.until('an idle tenant', ({ state, session }) => state === 'idle' && session.idlePolls >= 1)
    const third = await docs.until(
      'more polls',
      ({ session }) => session.since === null && session.idlePolls >= first.session.idlePolls + 3,
    )
    expect(third.session.count - first.session.count).toBe(third.session.idlePolls - first.session.idlePolls)
    expect([third.state, third.relays, third.error]).toEqual(['idle', 0, null])
    await postgres.sql()`insert into docs values (500)`
    const found = await docs.until('the change', ({ checkpoint }) => checkpoint > third.checkpoint)
    expect(found.checkpoint - third.checkpoint).toBe(1)
    await docs.until(
      'polls from the beginning',
      ({ session }) => session.since === null && session.idlePolls <= third.session.idlePolls,
    )
  })

  test('idle, live, idle: a client wakes it at once, however far the next poll is; a cron trigger does not', async () => {
    await docs.start({ bindings: HOUR })
    const idle = await docs.until('an idle tenant', ({ state, session }) => state === 'idle' && session.since === null)
    expect(Date.parse(idle.session.next ?? '')).toBeGreaterThan(Date.parse(idle.slot?.measured ?? '') + 3_000_000)
    // A start of the edge calls the cron trigger.
    await docs.edge.restart()
    const restarted = await docs.status()
    expect([restarted.state, restarted.session.count, restarted.session.next]).toEqual(['idle', 0, idle.session.next])

    await docs.connect()
    const live = await docs.until('a session', ({ state }) => state === 'live')
    expect([live.session.count, live.session.next]).toEqual([1, null])
    await postgres.sql()`insert into docs values (600)`
    await docs.exact()
    await docs.disconnect()
    const again = await docs.until('an idle tenant', ({ state, session }) => state === 'idle' && session.since === null)
    expect([again.relays, again.session.count, again.session.idlePolls]).toEqual([0, 1, 1])

    // Somebody who waits for a write checkpoint waits for a session.
    await postgres.sql()`insert into docs values (700)`
    await requestWriteCheckpoint(docs.edge.url, await token(docs.secret, 'alice'), 'c1')
    const woken = await docs.until(
      'the change',
      ({ checkpoint, session }) => checkpoint >= again.checkpoint + 2 && session.since === null,
    )
    // The row, and the mailbox.
    expect([woken.checkpoint - again.checkpoint, woken.session.count]).toEqual([2, 2])
  })
})

describe('a session that fails', () => {
  test('is reported with its reason, count and next attempt, also after a restart, until it works', async () => {
    await docs.start()
    await docs.connect()
    await docs.exact()
    await postgres.stopServer()
    const failing = await docs.until('failures', ({ session }) => session.failures >= 3 && session.next !== null)
    expect(failing.state).toBe('retrying')
    expect(failing.error?.code).toBe('ROCKPOOL_SOURCE_UNREACHABLE')
    expect(failing.diagnostics.counts.ROCKPOOL_SOURCE_UNREACHABLE).toBeGreaterThanOrEqual(3)
    await docs.edge.kill9()
    const restarted = await docs.status()
    expect([restarted.state, restarted.error?.code]).toEqual(['retrying', 'ROCKPOOL_SOURCE_UNREACHABLE'])
    expect(restarted.session.failures).toBeGreaterThanOrEqual(3)
    await postgres.startServer()
    await postgres.sql()`insert into docs values (800)`
    await docs.exact()
    const works = await docs.until('a session', ({ state }) => state === 'live')
    expect([works.error, works.session.failures]).toEqual([null, 0])
    // What was is kept.
    expect(works.diagnostics.counts.ROCKPOOL_SOURCE_UNREACHABLE).toBeGreaterThanOrEqual(3)
    expect(works.diagnostics.counts.ROCKPOOL_RESYNC).toBeUndefined()
    expect(
      works.diagnostics.recent.some((each) => each.code === 'ROCKPOOL_SOURCE_UNREACHABLE' && each.reason.length > 10),
    ).toBe(true)
  })

  test('wrong settings are refused by name, and the status can still be asked for', async () => {
    await docs.start({ bindings: { WAL_POLICY: 'drop', SESSION_SECONDS: '1000' } })
    const { state, error, diagnostics } = await docs.until('a refusal', (status) => status.error !== null)
    expect([state, error?.code]).toEqual(['refused', 'ROCKPOOL_SETTINGS'])
    expect(error?.message).toMatch(/SESSION_SECONDS: must be a number from 1 to 780; WAL_POLICY/)
    expect(diagnostics.counts.ROCKPOOL_SETTINGS).toBeGreaterThanOrEqual(1)
  })
})

test('a replicator that restarted because storing a batch failed says why', async () => {
  await docs.start({ bindings: { FAULTS: JSON.stringify({ seed: 1, rate: 1, eager: 1, points: ['batch.outbox'] }) } })
  await docs.connect()
  await postgres.sql()`insert into docs values (900)`
  await docs.exact()
  const { diagnostics } = await docs.status()
  expect(diagnostics.counts.ROCKPOOL_INTERNAL).toBeGreaterThanOrEqual(1)
  expect(diagnostics.recent.map((each) => each.reason)).toContain('the replicator began anew: fault at batch.outbox')
})

test('rows of a table without an id are in no bucket, which is reported once for the table', async () => {
  await postgres
    .sql()
    .unsafe('create table pairs (a int, b int, primary key (a, b)); insert into pairs values (1, 1), (1, 2), (2, 1)')
  const query = '      - SELECT * FROM docs\n      - SELECT * FROM pairs\n'
  await docs.start({
    syncConfig: `config: {edition: 3}\nstreams:\n  all:\n    auto_subscribe: true\n    queries:\n${query}`,
  })
  await docs.connect()
  await docs.exact()
  await postgres.sql()`insert into pairs values (2, 2)`
  const { diagnostics, skippedRows } = await docs.until('the rows', (status) => status.skippedRows.count === 4)
  expect(diagnostics.recent.filter(({ code }) => code === 'ROCKPOOL_ROW_SKIPPED')).toMatchObject([
    { table: 'public.pairs', key: null, count: 4, reason: expect.stringMatching(/no column id/) },
  ])
  expect(skippedRows.recent).toHaveLength(1)
})

test('problems are kept over a restart, for operators only', async () => {
  const keys = `json_keys(iif(n = 7, '[]', '{}'))`
  await docs.start({
    syncConfig: `bucket_definitions:\n  all:\n    data:\n      - SELECT id, n, ${keys} AS keys FROM docs\n`,
  })
  await docs.connect()
  await postgres.sql()`update docs set n = 7 where id in (3, 4)`
  const { diagnostics } = await docs.until('the rows', (status) => status.diagnostics.counts.ROCKPOOL_ROW_SKIPPED === 2)
  expect(diagnostics.recent).toMatchObject([
    {
      code: 'ROCKPOOL_ROW_SKIPPED',
      table: 'public.docs',
      key: '["4"]',
      reason: expect.stringMatching(/not a JSON object/),
      count: 1,
    },
    { code: 'ROCKPOOL_ROW_SKIPPED', table: 'public.docs', key: '["3"]' },
  ])
  const plain = await fetch(`${docs.edge.url}/status`, {
    headers: { authorization: `Token ${await token(docs.secret, 'anybody')}` },
  })
  // Neither rows nor tables, nor that there was a problem.
  const { data }: { data: object } = await plain.json()
  expect(Object.keys(data)).toEqual(['state', 'checkpoint', 'plan', 'lagBytes', 'comparing'])
  await docs.edge.restart()
  const after = await docs.status()
  expect(after.diagnostics.counts.ROCKPOOL_ROW_SKIPPED).toBe(2)
  expect(after.diagnostics.recent).toEqual(expect.arrayContaining(diagnostics.recent))
})
