import { afterAll, beforeAll, expect, test } from 'vitest'
import { startPostgres, type TestPostgres } from '../test/support/postgres.ts'
import { removeTraces, type Traces } from './own-traces.ts'

let postgres: TestPostgres
beforeAll(async () => void (postgres = await startPostgres()))
afterAll(() => postgres?.stop())

const traces: Traces = { slot: 'mine', publication: 'my_tables', ownSlot: true, ownPublication: true, example: false }
async function removed(url: string, given: Traces): Promise<string[]> {
  const lines: string[] = []
  await removeTraces(url, undefined, given, (line) => lines.push(line))
  return lines
}
const left = async () => [
  (await postgres.sql()`SELECT slot_name FROM pg_replication_slots`).length,
  (await postgres.sql()`SELECT FROM pg_publication`).length,
]

test('what belongs to this folder is dropped; named slots and publications stay, with statements that remove them', async () => {
  const sql = postgres.sql()
  await sql`CREATE PUBLICATION my_tables`
  await sql`SELECT pg_create_logical_replication_slot('mine', 'pgoutput')`
  await sql`SELECT pg_create_logical_replication_slot('rockpool', 'pgoutput')`
  const named = await removed(postgres.url, { ...traces, ownSlot: false, ownPublication: false, example: true })
  expect(named).toEqual([
    "database   the slot mine stays, and makes Postgres keep WAL until it is dropped: SELECT pg_drop_replication_slot('mine')",
    'database   the publication my_tables stays, and costs nothing while nobody uses it: DROP PUBLICATION IF EXISTS my_tables',
    'database   the tables of the example stay: DROP TABLE lists, todos, upload_verdicts, upload_clients',
  ])
  expect(await left()).toEqual([2, 1])
  expect(await removed(postgres.url, traces)).toEqual([
    'database   the slot mine is dropped',
    'database   the publication my_tables is dropped',
    expect.stringMatching(/nobody reads the slot rockpool .*: SELECT pg_drop_replication_slot\('rockpool'\)$/),
  ])
  expect(await left()).toEqual([1, 0])
  await sql.unsafe("SELECT pg_drop_replication_slot('rockpool')")
})

test('a foreign publication is not touched, and a silent database does not delay the end', async () => {
  expect(await removed(postgres.url, { ...traces, publication: undefined })).toEqual([
    'database   the slot mine is dropped',
  ])
  const gone = await removed('postgres://a:b@127.0.0.1:1/none?sslmode=disable', traces)
  expect(gone).toEqual([
    expect.stringMatching(
      /^database {3}the slot mine stays, .*SELECT pg_drop_replication_slot\('mine'\) \(it could not be dropped: /,
    ),
    expect.stringMatching(
      /^database {3}the publication my_tables stays, .*DROP PUBLICATION IF EXISTS my_tables \(it could not be dropped: /,
    ),
  ])
})
