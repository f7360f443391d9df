import { afterAll, beforeAll, expect, test } from 'vitest'
import { DEFAULT_TENANT } from '../../tenants/single.ts'
import { damage } from '../support/damage.ts'
import { statusOf } from '../support/status.ts'
import { token, until } from '../support/support.ts'
import { attacked, checkpoint, NOTES_OF_OWNER, type Attacked } from './setting.ts'

// A client id is whatever a client says it is. While each had a mailbox of its own, one valid token made an object,
// three rows of the replicator and one append of each id that it invented, and none of them ever went.

const CLIENTS = 200
let it: Attacked

beforeAll(async () => {
  it = await attacked(
    'create table notes (id text primary key, owner_id text not null, text text not null)',
    NOTES_OF_OWNER,
  )
})

afterAll(async () => {
  await it?.stop()
})

async function write(user: string, client: string): Promise<string> {
  const headers = { authorization: `Token ${await token(it.secret, user)}` }
  const response = await fetch(`${it.edge.url}/write-checkpoint2.json?client_id=${client}`, { headers })
  expect(response.status).toBe(200)
  const { data } = (await response.json()) as { data: { write_checkpoint: string } }
  return data.write_checkpoint
}

const objects = async () => (await it.edge.objectIds('Bucket')).length
const written = async () => (await statusOf(it.edge.url, it.secret)).written

test('connecting creates no object, with any number of client ids', async () => {
  for (let i = 0; i < 12; i++) {
    const lines = await it.stream('mallory', `m${i}`)
    await checkpoint(lines)
    lines.close()
  }
  expect(await objects()).toBe(0)
})

test('a flood of client ids of one user is one object of bounded size, and the real device continues', async () => {
  const before = await written()
  await Promise.all(Array.from({ length: CLIENTS }, (_, i) => write('mallory', `m${i}`)))
  await until('the writes', async () => (await written()).changes >= before.changes + CLIENTS)
  expect(await objects()).toBe(1)
  const n = await write('mallory', 'device')
  const device = await it.stream('mallory', 'device')
  let came = ''
  while (!came.includes(n)) came += (await checkpoint(device)).text
  device.close()
  // Another user under the same client id has a mailbox of his own.
  const other = await write('alice', 'device')
  const alice = await it.stream('alice', 'device')
  came = ''
  while (!came.includes(other)) came += (await checkpoint(alice)).text
  expect(came).not.toContain(n)
  alice.close()
  expect(await objects()).toBe(2)
  const kept = damage(it.directory, 'Replicator', DEFAULT_TENANT, (db) => ({
    buckets: db.prepare('SELECT count(*) AS n FROM buckets').get()?.n,
    clients: db.prepare('SELECT json_array_length(outputs) AS n FROM rows WHERE t = 0 ORDER BY n').all().map((row) => row.n), // prettier-ignore
  }))
  expect(kept).toEqual({ buckets: 2, clients: [1, 32] })
})
