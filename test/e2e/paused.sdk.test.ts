import { setTimeout } from 'node:timers/promises'
import postgres from 'postgres'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ReplicatorStatus } from '../../protocol/messages/status.ts'
import { Follower, rowsOf } from '../support/follower.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { requestWriteCheckpoint, statusOf } from '../support/status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support/support.ts'
import { TenantEdge } from '../support/tenant-edge.ts'

// Tenants whose replication is paused over a real Postgres: by a limit of their own, and by the budget of the
// deployment. Meanwhile their slots keep WAL, and the database may go. Nothing is lost.

const SYNC_CONFIG = 'bucket_definitions:\n  all:\n    data:\n      - SELECT id, title FROM items\n'
/** Of all tenants together, on a day: 20,000 rows. */
const BUDGET = 0.02
const MB = 1024 ** 2

const directory = await temporaryDirectory()
const secrets = new Map<string, string>()
const clients = new Map<string, Follower>()
let source: TestPostgres
let edge: TenantEdge

async function run(name: string, statement: string): Promise<void> {
  const sql = postgres(source.urlOf({ database: name }), { max: 1, onnotice: () => {} })
  await sql.unsafe(statement)
  await sql.end({ timeout: 1 })
}
const secretOf = (name: string): string => secrets.get(name) ?? ''
const insert = (name: string, from: number, rows: number) =>
  run(name, `INSERT INTO items SELECT n, 'of ${name}' FROM generate_series(${from}, ${from + rows - 1}) n`)
const status = (name: string) => statusOf(edge.urlOf(name), secretOf(name))
const reached = (name: string, what: string, is: (status: ReplicatorStatus) => boolean) =>
  until(
    `${name}: ${what}`,
    async () => {
      const found = await status(name)
      return is(found) && found
    },
    120,
    () => status(name),
  )
const hasRows = (name: string, rows: number) =>
  until(
    `${rows} rows at the client of ${name}`,
    async () => rowsOf(clients.get(name)?.buckets ?? new Map(), '').length === rows,
    120,
    async () => [clients.get(name)?.state, await status(name)],
  )
const codes = ({ diagnostics }: ReplicatorStatus) => diagnostics.counts
const limit = async (name: string, refuse: number, of: 'rowsPerDay' | 'storedGb' = 'rowsPerDay') => {
  const { data } = await edge.admin('GET', `tenants/${name}`)
  const headers = { 'if-match': `"${String(data?.version)}"` }
  const limits = { [of]: { warn: null, refuse } }
  expect((await edge.admin('PATCH', `tenants/${name}`, { limits }, headers)).status).toBe(200)
}

/** Makes a tenant with a row, and a client that has it. */
async function begin(name: string): Promise<void> {
  secrets.set(name, newSecret())
  await source.sql().unsafe(`CREATE DATABASE ${name}`)
  await run(name, 'CREATE TABLE items (id text PRIMARY KEY, title text); CREATE TABLE other (id serial, v text)')
  await insert(name, 1, 1)
  await edge.create(name, {
    secrets: { DATABASE_URL: source.urlOf({ database: name }), JWT_SECRET: secretOf(name) },
    settings: { SYNC_CONFIG, JWT_AUDIENCE: AUDIENCE },
  })
  const options = { url: edge.urlOf(name), token: () => token(secretOf(name), 'ann'), clientId: `c-${name}` }
  clients.set(name, new Follower(options))
  await hasRows(name, 1)
}

beforeAll(async () => {
  source = await startPostgres({ max_slot_wal_keep_size: '96MB', min_wal_size: '32MB', max_wal_size: '64MB' })
  edge = await TenantEdge.start({
    directory: `${directory.path}/edge`,
    bindings: { SESSION_SECONDS: '3', WAL_CHECK_SECONDS: '1', BUDGET_DOLLARS_DAY: String(BUDGET) },
  })
})
afterAll(async () => {
  await Promise.all([...clients.values()].map((client) => client.close()))
  await edge?.edge.dispose()
  await source?.stop()
  await directory.remove()
})

test('over its limit of rows: the slot is measured as it grows and through an outage, and with a larger limit nothing is lost', async () => {
  await begin('limited')
  await limit('limited', 300)
  await insert('limited', 2, 400)
  await reached('limited', 'paused', ({ state }) => state === 'paused')
  const before = rowsOf(clients.get('limited')?.buckets ?? new Map(), '').length
  const first = await reached('limited', 'measured', ({ slot }) => slot !== null)
  await run('limited', `INSERT INTO other (v) SELECT repeat(md5(n::text), 32) FROM generate_series(1, 9000) n`)
  await insert('limited', 1_000, 10)
  const grown = (first.slot?.lagBytes ?? 0) + 5 * MB
  await reached('limited', 'what its slot keeps', ({ slot }) => (slot?.lagBytes ?? 0) > grown)
  const writeCheckpoint = requestWriteCheckpoint(edge.urlOf('limited'), await token(secretOf('limited'), 'ann'), 'c')
  await expect(writeCheckpoint).rejects.toThrow(/429.*ROCKPOOL_LIMIT/)

  await source.stopServer()
  await reached('limited', 'the outage', (found) => (codes(found).ROCKPOOL_SOURCE_UNREACHABLE ?? 0) > 0)
  // It is limited still, not failing.
  expect(await status('limited')).toMatchObject({ state: 'paused', paused: { why: 'rowsPerDay' } })
  await source.startServer()
  const since = new Date().toISOString()
  const again = await reached('limited', 'measured again', ({ slot }) => (slot?.measured ?? '') > since)
  expect(again.slot?.lagBytes).toBeGreaterThan(grown)
  // Nothing was taken in all the time.
  expect(rowsOf(clients.get('limited')?.buckets ?? new Map(), '').length).toBe(before)

  await limit('limited', 1_000_000)
  await hasRows('limited', 411)
  expect(codes(await status('limited'))).not.toHaveProperty('ROCKPOOL_RESYNC')
  expect(clients.get('limited')?.problems).toEqual([])
})

test('when Postgres takes the slot of a paused tenant away, that is told, everything is compared afterwards, and nothing is lost', async () => {
  await limit('limited', 1)
  await reached('limited', 'paused', ({ state }) => state === 'paused')
  await insert('limited', 2_000, 5)
  await run('limited', "DELETE FROM items WHERE id = '1000'")
  for (let n = 0; n < 16; n++) {
    await run('limited', `INSERT INTO other (v) SELECT repeat(md5(n::text), 32) FROM generate_series(1, 9000) n`)
    await run('limited', 'CHECKPOINT')
  }
  await reached(
    'limited',
    'the loss',
    ({ slot, diagnostics }) => slot?.level === 'lost' && Boolean(diagnostics.counts.ROCKPOOL_WAL_KEPT),
  )
  const told = await reached('limited', 'that it is dropped', (found) => Boolean(codes(found).ROCKPOOL_WAL_DROPPED))
  expect(told.state).toBe('paused')
  await limit('limited', 1_000_000)
  await hasRows('limited', 415)
  expect(codes(await status('limited'))).toMatchObject({ ROCKPOOL_RESYNC: 1 })
  expect(clients.get('limited')?.problems).toEqual([])
})

test('a tenant that stores as much as it may is measured, told and paused, also after its object was ended, and with a larger limit nothing is lost', async () => {
  await begin('large')
  await limit('large', 0.004, 'storedGb')
  await reached('large', 'the first measure', ({ usage }) => typeof usage?.storedBytes === 'number')
  const long = (from: number, rows: number) =>
    run('large', `INSERT INTO items SELECT n, repeat('x', 3000) FROM generate_series(${from}, ${from + rows - 1}) n`)
  await long(2, 2_000)
  const paused = await reached('large', 'paused', ({ state }) => state === 'paused')
  expect(paused.paused).toMatchObject({ why: 'storedGb' })
  expect(paused.usage?.storedBytes).toBeGreaterThan(0.004 * 1024 * MB)
  expect(paused.diagnostics.recent).toContainEqual(expect.objectContaining({ code: 'ROCKPOOL_LIMIT', key: 'storedGb' }))
  const writeCheckpoint = requestWriteCheckpoint(edge.urlOf('large'), await token(secretOf('large'), 'ann'), 'c')
  await expect(writeCheckpoint).rejects.toThrow(/429.*ROCKPOOL_LIMIT.*stores as much/)
  await long(5_000, 10)
  await run('large', "DELETE FROM items WHERE id = '2'")
  await edge.edge.kill9()
  await edge.edge.restart()
  await setTimeout(5_000)
  expect((await status('large')).state).toBe('paused')
  await limit('large', 1, 'storedGb')
  await hasRows('large', 2_010)
  expect(clients.get('large')?.problems).toEqual([])
})

test('near the budget of the deployment the tenant that uses most is paused and told, the other goes on, and resumed it has everything', async () => {
  await begin('small')
  await insert('small', 2, 10)
  await begin('hog')
  // Sessions end, and replicators report.
  await setTimeout(6_000)
  const before = (await edge.admin('GET', 'spending')).data
  const rows = Math.floor((0.93 * BUDGET - Number(before?.dollars)) * 1e6)
  expect(rows).toBeGreaterThan(5_000)
  await insert('hog', 2, rows)
  const paused = await reached('hog', 'paused', ({ state }) => state === 'paused')
  expect(paused.paused).toMatchObject({ why: 'deployment' })
  expect(paused.diagnostics.recent).toContainEqual(
    expect.objectContaining({ code: 'ROCKPOOL_LIMIT', key: 'deployment' }),
  )
  const { data } = await edge.admin('GET', 'spending')
  expect(data).toMatchObject({ budget: BUDGET })
  expect(data?.tenants).toContainEqual(expect.objectContaining({ name: 'hog', paused: true }))
  await insert('hog', 50_000, 7)
  await run('hog', "DELETE FROM items WHERE id = '1'")
  await setTimeout(5_000)
  expect((await status('hog')).state).toBe('paused')
  await insert('small', 100, 10)
  await hasRows('small', 21)

  expect((await edge.admin('POST', 'tenants/hog/resume', {})).status).toBe(200)
  await hasRows('hog', rows + 7)
  expect(clients.get('hog')?.problems).toEqual([])
  // It goes on for the day.
  await insert('hog', 60_000, 3_000)
  await hasRows('hog', rows + 3_007)
})
