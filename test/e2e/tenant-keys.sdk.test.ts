import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Follower, rowsOf } from '../support/follower.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support/support.ts'
import { TenantEdge } from '../support/tenant-edge.ts'
import { native, ndjson } from '../wire/transports.ts'

// The keys of tenants are rotated as docs/tenants.md says, in a deployment whose objects and Workers get new bindings
// at different times. Rows arrive in every phase, and no stream ends.

const SYNC_CONFIG = 'bucket_definitions:\n  all:\n    data:\n      - SELECT id, title FROM items\n'
const secret = newSecret()
const key = (id: string) => `${id}:${randomBytes(32).toString('base64url')}`
const [one, two] = [key('k1'), key('k2')]
const REPLICATOR = ['REPLICATOR', 'acme'] as const
const directory = await temporaryDirectory()
const clients: Follower[] = []
let source: TestPostgres
let edge: TenantEdge
let last = 0

/** What Workers and the Directory have, and what objects have that are constructed from now on. Some end now. */
async function deploy(workers: string, objects: string, ...end: (readonly [string, string])[]): Promise<void> {
  await fetch(`${edge.edge.url}/keys`, {
    method: 'POST',
    body: JSON.stringify({ workers, objects, end: [['DIRECTORY', 'directory'], ...end] }),
  })
}

/** A new request, whose token is verified by a secret of the tenant. */
async function isAnswered(phase: string): Promise<void> {
  const headers = { authorization: `Token ${await token(secret, 'ann')}` }
  const response = await fetch(`${edge.urlOf('acme')}/status`, { headers })
  expect([phase, response.status, response.ok ? '' : await response.text()]).toEqual([phase, 200, ''])
}

/** A row reaches every client, and each of them still has its first stream. */
async function goesOn(phase: string): Promise<void> {
  const id = ++last
  await source.sql()`insert into items values (${id}, ${phase})`
  for (const client of clients) {
    await until(
      `a row ${phase}`,
      async () => rowsOf(client.buckets, '').some((row) => row.title === phase),
      120,
      () => [client.state, client.problems],
    )
    expect([phase, client.streams, client.problems]).toEqual([phase, 1, []])
  }
  await isAnswered(phase)
}
const rekey = async () => (await edge.admin('POST', 'rekey', { after: '' })).data
beforeAll(async () => {
  source = await startPostgres()
  await source.sql().unsafe('CREATE TABLE items (id int PRIMARY KEY, title text)')
  edge = await TenantEdge.start({
    directory: `${directory.path}/edge`,
    bindings: { TENANT_KEYS: one },
    front: new URL('../support/keys-of-yesterday.js', import.meta.url).pathname,
    ...(process.env.ROCKPOOL_LOG ? { log: (line: string) => console.log(`[edge] ${line}`) } : {}),
  })
  await edge.create('acme', {
    secrets: { DATABASE_URL: source.url, JWT_SECRET: secret },
    settings: { SYNC_CONFIG, JWT_AUDIENCE: AUDIENCE },
  })
  const options = { url: edge.urlOf('acme'), token: () => token(secret, 'ann') }
  for (const [i, transport] of [ndjson, native].entries())
    clients.push(new Follower({ ...options, clientId: `c${i}`, transport }))
})
afterAll(async () => {
  await Promise.all(clients.map((client) => client.close()))
  await edge?.edge.dispose()
  await source?.stop()
  await directory.remove()
})

test('new,old → rekey → new: rows arrive in each phase, and no stream ends', async () => {
  await goesOn('before')
  // Workers are new at once; objects have the key of yesterday, also those that begin now.
  await deploy(`${two},${one}`, one, REPLICATOR)
  await goesOn('objects of yesterday')
  // The objects lag behind by minutes, and are new then.
  await deploy(`${two},${one}`, `${two},${one}`, REPLICATOR)
  await goesOn('both keys everywhere')
  expect(await rekey()).toEqual({ rekeyed: 1, next: null })
  expect(await rekey()).toEqual({ rekeyed: 0, next: null })
  await goesOn('encrypted again')
  await isAnswered('just before the old key goes')
  await deploy(two, two, REPLICATOR)
  await isAnswered('just after it has gone')
  await goesOn('the new key alone')
})

test('rekeyed too early: an object with the key of yesterday says so, and goes on when it has the new one; no stream ends', async () => {
  const three = key('k3')
  await deploy(`${three},${two}`, two, REPLICATOR)
  await goesOn('a third key')
  expect(await rekey()).toEqual({ rekeyed: 1, next: null })
  // Its copy serves: nothing has changed but the encryption.
  await goesOn('a copy of before')
  await deploy(three, `${three},${two}`, REPLICATOR)
  await goesOn('the third key alone')
})
