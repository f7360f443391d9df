import { afterAll, beforeAll, expect, test } from 'vitest'
import postgresClient from 'postgres'
import { DEFAULT_TENANT } from '../../tenants/single.ts'
import { damage } from '../support/damage.ts'
import { startEdge, type Edge } from '../support/edge.ts'
import { freePort, startPostgres, type TestPostgres } from '../support/postgres.ts'
import { openRawStream } from '../support/raw-stream.ts'
import { requestWriteCheckpoint, statusOf } from '../support/status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support/support.ts'

// A role of the database that may do nothing but log in writes messages into the WAL under our prefix.

const secret = newSecret()
const HIGHEST = '9223372036854775807'
const PREFIX = 'rockpool:rockpool'
let postgres: TestPostgres
let edge: Edge
let settings: Parameters<typeof startEdge>[0]
let directory: Awaited<ReturnType<typeof temporaryDirectory>>

beforeAll(async () => {
  directory = await temporaryDirectory()
  postgres = await startPostgres()
  await postgres.sql().unsafe(`
    create table items (id int primary key);
    insert into items values (1);
    create role mallory login password 'm'`)
  settings = {
    databaseUrl: postgres.url,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    directory: directory.path,
    port: await freePort(),
    bindings: { IDLE_POLL_SECONDS: '1', IDLE_POLL_MAX_SECONDS: '1' },
    syncConfig: 'bucket_definitions:\n  all:\n    data:\n      - SELECT id FROM items\n',
  }
  edge = await startEdge(settings)
})
afterAll(async () => {
  await edge?.dispose()
  await postgres?.stop()
  await directory?.remove()
})

async function forge(content: string, repeat = 1): Promise<void> {
  const mallory = postgresClient(postgres.urlOf({ user: 'mallory', password: 'm' }), { max: 1 })
  try {
    const [may] = await mallory<{ may: boolean }[]>`select has_table_privilege('items', 'select') as may`
    expect(may?.may).toBe(false)
    for (let i = 0; i < repeat; i++) await mallory`select pg_logical_emit_message(true, ${PREFIX}, ${content}::text)`
  } finally {
    await mallory.end()
  }
}

const alice = () => token(secret, 'alice')
const ask = async () => requestWriteCheckpoint(edge.url, await alice(), 'phone-of-alice')
const told = async () =>
  (await statusOf(edge.url, secret)).diagnostics.recent.find(({ code }) => code === 'ROCKPOOL_FOREIGN_MARKER')

test('a forged write checkpoint confirms nothing, uses up no numbers, and is reported once', async () => {
  const { client, stop } = await openRawStream(edge.url, await alice(), { client_id: 'phone-of-alice' })
  await client.until(() => client.completes > 0)
  const first = await ask()
  await client.until(() => (client.writeCheckpoint ?? 0n) >= first)
  await forge(JSON.stringify({ write: [['alice', 'phone-of-alice', HIGHEST]] }), 20)
  await forge(JSON.stringify({ write: [['alice', 'phone-of-alice', HIGHEST]], hmac: 'A'.repeat(43) }))
  await forge('[]')
  // Behind all of these in the WAL.
  const next = await ask()
  await client.until(() => (client.writeCheckpoint ?? 0n) >= next)
  expect(client.writeCheckpoint).toBe(next)
  const { data } = { data: await told() }
  expect(data).toMatchObject({ count: 1, reason: expect.stringMatching(/not ours and was ignored.*REVOKE EXECUTE/) })
  stop()
})

test('a write checkpoint of an earlier version that arrives after the update reaches its client; later forged ones do not', async () => {
  const before = await ask()
  await edge.dispose()
  const issued = damage(directory.path, 'Replicator', DEFAULT_TENANT, (db) => {
    db.prepare("DELETE FROM state WHERE key = 'markerKey'").run()
    return BigInt(JSON.parse(String(db.prepare("SELECT value FROM state WHERE key = 'issued'").get()?.value)) as number)
  })
  const earlier = before + 1n
  expect(earlier <= issued).toBe(true)
  await postgres.sql()`select pg_logical_emit_message(true, ${PREFIX}, ${JSON.stringify({ write: [['alice', 'phone-of-alice', String(earlier)]] })}::text)`
  // No number that was ever given out.
  await forge(JSON.stringify({ write: [['alice', 'phone-of-alice', HIGHEST]] }))
  edge = await startEdge(settings)
  const { client, stop } = await openRawStream(edge.url, await alice(), { client_id: 'phone-of-alice' })
  await client.until(() => (client.writeCheckpoint ?? 0n) >= earlier)
  expect(client.writeCheckpoint).toBe(earlier)
  await until('the session', async () => (await statusOf(edge.url, secret)).state === 'live')
  await forge(JSON.stringify({ write: [['alice', 'phone-of-alice', String(earlier + 1n)]] }))
  const next = await ask()
  await client.until(() => (client.writeCheckpoint ?? 0n) > earlier)
  expect(client.writeCheckpoint).toBe(next)
  stop()
})
