import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startCommand } from '../support/command.ts'
import { startEdge, type Edge } from '../support/edge.ts'
import { Follower, rowsOf } from '../support/follower.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support/support.ts'

// A deployment with one tenant gets a Directory: its tenant is served from the settings of the script until it is
// adopted, by the command that an operator types, and then others are made beside it.

const SYNC_CONFIG = 'bucket_definitions:\n  all:\n    data:\n      - SELECT id, title FROM items\n'
const secret = newSecret()
const directory = await temporaryDirectory()
let source: TestPostgres
let edge: Edge

const settings = (bindings: Record<string, string>, databaseUrl = source.url) => ({
  databaseUrl,
  jwtSecret: secret,
  jwtAudience: AUDIENCE,
  syncConfig: SYNC_CONFIG,
  directory: `${directory.path}/edge`,
  bindings,
})
const titlesOf = ({ buckets }: Follower) =>
  rowsOf(buckets, '')
    .map(({ title }) => String(title))
    .sort()

async function command(...args: string[]): Promise<{ code: number | null; output: string }> {
  const operator = await token(secret, 'ann', 60, { operator: true })
  const { DATABASE_URL: _, JWT_SECRET: __, ...environment } = process.env
  const env = { ...environment, ROCKPOOL_URL: edge.url, ROCKPOOL_TOKEN: operator, ...secrets }
  const started = startCommand(process.execPath, ['cli/main.ts', 'tenants', ...args], env)
  const code = await started.ended
  return { code, output: started.output }
}
let secrets: Record<string, string> = {}

beforeAll(async () => {
  source = await startPostgres()
  await source
    .sql()
    .unsafe("CREATE TABLE items (id text PRIMARY KEY, title text); INSERT INTO items VALUES ('1', 'before')")
  await source.sql().unsafe('CREATE DATABASE other')
  edge = await startEdge(settings({}))
})
afterAll(async () => {
  await edge?.dispose()
  await source?.stop()
  await directory.remove()
})

test('a live deployment with one tenant is adopted: its buckets stay, and no stream ends for it', async () => {
  const client = new Follower({ url: edge.url, token: () => token(secret, 'zoë'), clientId: 'c' })
  await until(
    'its first row',
    async () => titlesOf(client).length === 1,
    120,
    () => client.state,
  )
  const names = [...client.buckets.keys()]
  await client.close()
  const before = await command('list')
  expect([before.code, before.output]).toEqual([
    1,
    expect.stringMatching(/has one tenant: set TENANT_KEYS and OPERATOR_KEYS/),
  ])
  await edge.dispose()

  // The deploy with a key: nothing changes for clients.
  const keys = { TENANT_KEYS: `k1:${randomBytes(32).toString('base64url')}` }
  edge = await startEdge(settings(keys))
  const again = new Follower({ url: edge.url, token: () => token(secret, 'zoë'), clientId: 'c' })
  await until(
    'its row',
    async () => titlesOf(again).length === 1,
    120,
    () => again.state,
  )
  secrets = { DATABASE_URL: source.urlOf({ database: 'other' }), JWT_SECRET: newSecret() }
  const early = await command('create', 'other')
  expect([early.code, early.output]).toEqual([1, expect.stringMatching(/^ROCKPOOL_TENANT_CONFLICT: .*adopt it first/)])

  const adopted = await command('adopt')
  expect([adopted.code, adopted.output]).toEqual([0, expect.stringMatching(/^default: active, version 1\n/)])
  expect(adopted.output).toMatch(/SLOT +rockpool\n/)
  expect(adopted.output).not.toContain(secret)
  expect((await command('adopt')).output).toMatch(/there is nothing to adopt/)
  await source.sql()`insert into items values ('2', 'after')`
  await until(
    'the new row',
    async () => titlesOf(again).length === 2,
    60,
    () => again.state,
  )
  expect([again.streams, again.problems, [...again.buckets.keys()]]).toEqual([1, [], names])

  // From here on the settings of the script are no tenant: the record counts.
  const keyed = await command('set', 'default', '--setting', 'JWT_ISSUER=me')
  expect([keyed.code, keyed.output]).toEqual([0, expect.stringMatching(/JWT_ISSUER +me/)])
  await edge.dispose()
  edge = await startEdge(settings(keys, 'postgres://nobody@nowhere.invalid/none'))
  const issued = async (issuer: string) =>
    (
      await fetch(`${edge.url}/status`, {
        headers: { authorization: `Token ${await token(secret, 'zoë', 60, { iss: issuer })}` },
      })
    ).status
  expect([await issued('me'), await issued('other')]).toEqual([200, 401])
  const { rows } = await source.sql()`select count(*)::int as n from pg_replication_slots`.then(([row]) => ({
    rows: row?.n,
  }))
  expect(rows).toBe(1)
  await again.close()
})

test('a second tenant is made, shown, suspended and resumed by commands, and its secrets are never shown', async () => {
  const { DATABASE_URL = '', JWT_SECRET = '' } = secrets
  const outputs: string[] = []
  const said = async (...args: string[]) => {
    const { code, output } = await command(...args)
    outputs.push(output)
    return [code, output]
  }
  expect(await said('create', 'other', '--jwt-audience', AUDIENCE)).toEqual([
    0,
    expect.stringMatching(/^other: active, version 1\n/),
  ])
  expect(await said('create', 'other')).toEqual([
    1,
    expect.stringMatching(/^ROCKPOOL_TENANT_CONFLICT: there is a tenant other already/),
  ])
  expect(await said('list')).toEqual([0, expect.stringMatching(/default +active +v2\nother +active +v1\n2 tenants\n/)])
  expect(await said('show', 'other')).toEqual([0, expect.stringMatching(/secrets +DATABASE_URL, JWT_SECRET/)])
  expect(await said('suspend', 'other')).toEqual([2, expect.stringMatching(/ROCKPOOL_NOT_CONFIRMED/)])
  expect(await said('suspend', 'other', '--yes')).toEqual([0, expect.stringMatching(/^other: suspended, version 2\n/)])
  expect(await said('resume', 'other', '--json')).toEqual([0, expect.stringMatching(/"state": "active"/)])
  expect(await said('rotate')).toEqual([0, expect.stringMatching(/^the secrets of 0 tenants are under the first/)])
  expect(await said('show', 'nobody')).toEqual([
    1,
    expect.stringMatching(/^ROCKPOOL_TENANT: there is no tenant "nobody"/),
  ])
  expect(await said('show', 'No Name')).toEqual([2, expect.stringMatching(/needs the name of a tenant/)])
  expect(await said('explode', 'other')).toEqual([2, expect.stringMatching(/say one of list, create, /)])
  for (const output of outputs) for (const value of [JWT_SECRET, DATABASE_URL]) expect(output).not.toContain(value)
})
