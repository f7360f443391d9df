import { afterEach, expect, test } from 'vitest'
import { startEdge, type Edge } from '../support/edge.ts'
import { Follower, rowsOf } from '../support/follower.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { statusOf } from '../support/status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support/support.ts'

// A change that ends the replicator each time it comes: with care it is found, skipped and told, and everything else
// arrives.

const KILLS = '["110"]'
const ROWS = 130
const secret = newSecret()
const closers: (() => Promise<unknown>)[] = []

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

const syncConfig = `bucket_definitions:
  all: { data: ["SELECT id, n FROM items"] }
`

async function setUp(kind: 'throw' | 'abort', existing: number) {
  const directory = await temporaryDirectory()
  closers.push(() => directory.remove())
  const postgres = await startPostgres()
  closers.push(() => postgres.stop())
  await postgres.sql()`create table items (id int primary key, n int not null)`
  await postgres.sql()`insert into items select n, 0 from generate_series(1, ${existing}::int) n`
  const faults = { seed: 1, rate: 1, fading: false, points: ['change.apply'], kinds: [kind], at: `items ${KILLS}` }
  const start = async (bindings: Record<string, string>) => {
    const settings = {
      databaseUrl: postgres.url,
      jwtSecret: secret,
      jwtAudience: AUDIENCE,
      syncConfig,
      directory: directory.path,
      bindings,
    }
    const edge = await startEdge(settings)
    closers.push(() => edge.dispose())
    const client = new Follower({ url: edge.url, token: () => token(secret, 'a'), clientId: 'c' })
    closers.push(() => client.close())
    return { edge, client }
  }
  const { edge, client } = await start({ FAULTS: JSON.stringify(faults) })
  return { postgres, edge, client, start }
}

const idsOf = (client: Follower) => rowsOf(client.buckets, '[').map((row) => Number(row.id))
const all = (...numbers: number[]) => numbers.sort((a, b) => a - b)
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

/** Until the rows are there, and the table is compared; the last status, and what it told meanwhile. */
async function untilThere(edge: Edge, client: Follower, ids: number[]) {
  const told = new Set<string>()
  let failures = 0
  const status = await until(
    'all the other rows',
    async () => {
      const now = await statusOf(edge.url, secret)
      told.add(`${now.state} ${now.error?.code ?? ''}`)
      failures = Math.max(failures, now.session.failures)
      const there = all(...idsOf(client)).join() === ids.join()
      return (
        there &&
        now.state === 'live' &&
        now.error === null &&
        (now.diagnostics.counts.ROCKPOOL_CHANGE_SKIPPED ?? 0) >= 2 &&
        now
      )
    },
    240,
    async () => [await statusOf(edge.url, secret), client.state],
  )
  return { status, told, failures }
}

/** Without the fault the row comes with its next change. */
async function untilBack(
  postgres: TestPostgres,
  edge: Edge,
  start: (bindings: Record<string, string>) => Promise<{ client: Follower }>,
) {
  await edge.dispose()
  const { client } = await start({})
  await postgres.sql()`update items set n = 7 where id = ${Number(JSON.parse(KILLS))}`
  await until(
    'the row',
    async () => rowsOf(client.buckets, '[').some((row) => row.n === 7),
    60,
    () => client.state,
  )
}

test.each(['abort', 'throw'] as const)(
  'a change in the stream at which the replicator always ends (%s) is skipped, and told',
  async (kind) => {
    const { postgres, edge, client, start } = await setUp(kind, 0)
    await until(
      'a live session',
      async () => (await statusOf(edge.url, secret)).state === 'live' && client.checkpoints > 0,
    )
    await postgres.sql()`insert into items select n, 0 from generate_series(1, ${ROWS}::int) n`
    await postgres.sql()`insert into items values (1000, 0)`
    const { status, told, failures } = await untilThere(edge, client, [...range(1, 109), ...range(111, ROWS), 1000])
    const skipped = status.diagnostics.recent.filter(({ code }) => code === 'ROCKPOOL_CHANGE_SKIPPED')
    expect(skipped.map(({ table, key }) => [table, key])).toEqual(skipped.map(() => ['public.items', KILLS]))
    // It has waited ever longer, and said why.
    expect([...told]).toContain('retrying ROCKPOOL_INTERNAL')
    expect(failures).toBeGreaterThan(2)
    expect(client.problems).toEqual([])
    await untilBack(postgres, edge, start)
  },
)

test.each(['abort', 'throw'] as const)(
  'a row of a copy at which the replicator always ends (%s) is skipped, and told',
  async (kind) => {
    const { postgres, edge, client, start } = await setUp(kind, ROWS)
    await until(
      'all the other rows',
      async () => idsOf(client).length === ROWS - 1,
      240,
      async () => [await statusOf(edge.url, secret), client.state],
    )
    const { diagnostics } = await statusOf(edge.url, secret)
    expect(diagnostics.recent.find(({ code }) => code === 'ROCKPOOL_CHANGE_SKIPPED')).toMatchObject({
      table: 'public.items',
      key: KILLS,
    })
    expect(idsOf(client)).not.toContain(110)
    await untilBack(postgres, edge, start)
  },
)
