import { afterAll, beforeAll, expect, test } from 'vitest'
import { bucketObjectName } from '../../protocol/names.ts'
import { DEFAULT_TENANT } from '../../tenants/single.ts'
import { Operator } from '../support/deploys.ts'
import { look } from '../support/damage.ts'
import { startEdge, type Edge } from '../support/edge.ts'
import { Follower } from '../support/follower.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { objectId } from '../random/objects.ts'
import { requestWriteCheckpoint, statusOf } from '../support/status.ts'
import { AUDIENCE, connector, newSecret, powersync, temporaryDirectory, token, until } from '../support/support.ts'

// Buckets that no row is in, and objects of a sync config that does not serve any more, are taken away. Days are
// seconds here, and every call of it fails now and then.

/** Of a day. */
const SECOND = 1 / 86_400
const secret = newSecret()
const operator = new Operator(() => edge.url, secret)
let postgres: TestPostgres
let edge: Edge
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let path: string

const config = (name: string, columns: string) => `bucket_definitions:
  ${name}:
    parameters: SELECT request.user_id() AS owner_id
    data:
      - SELECT ${columns} FROM lists WHERE owner_id = bucket.owner_id
`

beforeAll(async () => {
  directory = await temporaryDirectory()
  path = `${directory.path}/edge`
  postgres = await startPostgres()
  await postgres.sql()`create table lists (id text primary key, name text, owner_id text not null)`
  await postgres.sql()`insert into lists values ('1', 'one', 'alice'), ('2', 'two', 'bob'), ('3', 'three', 'carol')`
  const points = ['tidying.step', 'tidying.asked', 'tidying.erased', 'bucket.idle', 'bucket.erase']
  edge = await startEdge({
    databaseUrl: postgres.url,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    syncConfig: config('mine', 'id, name, owner_id'),
    directory: path,
    bindings: {
      UNUSED_DAYS: SECOND.toFixed(8),
      RETIRE_GRACE_SECONDS: '0',
      IDLE_POLL_SECONDS: '1',
      IDLE_POLL_MAX_SECONDS: '1',
      FAULTS: JSON.stringify({ seed: 3, rate: 0.2, points }),
    },
  })
  await until('the first copy', async () => (await statusOf(edge.url, secret)).plan !== null)
})

afterAll(async () => {
  await edge?.dispose()
  await postgres?.stop()
  await directory?.remove()
})

/** Names of the buckets that have a record, an object, or a name that is kept. */
async function known(part: string) {
  const { records, removals } = look(path, 'Replicator', DEFAULT_TENANT, (db) => ({
    records: db.prepare('SELECT name FROM buckets').all().map((row) => String(row.name)), // prettier-ignore
    removals: db.prepare('SELECT name FROM removals').all().map((row) => String(row.name)), // prettier-ignore
  }))
  const stored = new Set(await edge.objectIds('Bucket'))
  const objects = []
  for (const name of names)
    if (stored.has(objectId('Bucket', await bucketObjectName(DEFAULT_TENANT, name)))) objects.push(name)
  for (const name of records) names.add(name)
  const of = (list: string[]) => list.filter((name) => name.includes(part)).length
  return [of(records), of(objects), of(removals)]
}
const names = new Set<string>()

test('an emptied bucket is removed; clients that had it, were away, or come later have the right rows', async () => {
  const sql = postgres.sql()
  const alice = new Follower({ url: edge.url, token: () => token(secret, 'alice'), clientId: 'a' })
  const device = powersync(directory.path, 'alice')
  const connect = () => device.connect(connector(edge.url, () => token(secret, 'alice')))
  try {
    await connect()
    await device.waitForFirstSync()
    await until('its row', async () => (await device.getAll('select * from lists')).length === 1)
    // It holds the row when it leaves, and all of the bucket is another one when it comes back.
    await device.disconnect()
    await until('a checkpoint', async () => alice.checkpoints > 0)
    await known('')
    await sql`delete from lists where owner_id = 'alice'`
    await until(
      'the bucket to go',
      async () => JSON.stringify(await known('"alice"')) === '[0,0,0]',
      60,
      () => known('"alice"'),
    )
    expect(await known('#mine["')).toEqual([2, 2, 0])
    await sql`insert into lists values ('4', 'four', 'alice')`
    await until('the new row', async () => alice.buckets.size === 1 && [...alice.buckets.values()][0]?.rows.size === 1)
    expect(alice.problems).toEqual([])
    await connect()
    const rows = () => device.getAll<{ id: string; name: string }>('select id, name from lists')
    await until('the new row', async () => JSON.stringify(await rows()) === '[{"id":"4","name":"four"}]', 30, rows)
    const late = new Follower({ url: edge.url, token: () => token(secret, 'alice'), clientId: 'late' })
    await until('a checkpoint', async () => late.checkpoints > 0)
    expect([[...late.buckets.values()].map(({ rows: held }) => held.size), late.problems]).toEqual([[1], []])
    await late.close()
  } finally {
    await alice.close()
    await device.close()
  }
})

test('objects of a sync config that does not serve any more are erased, and their names are kept until then', async () => {
  // Its mailbox stays: it was used just now.
  await requestWriteCheckpoint(edge.url, await token(secret, 'bob'), 'b')
  await known('')
  await operator.deploy(config('ours', 'id, owner_id'))
  await until(
    'the old objects to go',
    async () => JSON.stringify(await known('#mine["')) === '[0,0,0]',
    180,
    () => known('#mine["'),
  )
  await known('')
  expect(await known('')).toEqual([4, 4, 0])
})
