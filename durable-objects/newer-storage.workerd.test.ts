import { env, evictDurableObject, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { expect, test } from 'vitest'
import { MESSAGE_VERSION } from '../protocol/versions.ts'
import { bucketObjectName } from '../protocol/names.ts'
import { everyNameIsATenant } from '../test/support/tenant.ts'

everyNameIsATenant({})

// After `wrangler rollback` older code finds what a newer release has stored.

const v = MESSAGE_VERSION
const NEWER = 'INSERT INTO migrations (version, reads) VALUES (1000, 1000)'
const refused = { code: 'ROCKPOOL_STORAGE_NEWER' }

/** Everything that is stored, as texts. */
function contents(state: DurableObjectState): string[] {
  const tables = state.storage.sql.exec<{ name: string }>(
    "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_cf\\_%' ESCAPE '\\'",
  )
  return [...tables].map(
    ({ name }) => `${name}: ${JSON.stringify([...state.storage.sql.exec(`SELECT * FROM "${name}"`)])}`,
  )
}

test('a replicator refuses by name, touches nothing, and looks again a minute later', async () => {
  const replicator = env.REPLICATOR.getByName('newer')
  await replicator.watch({ v, bucket: 'b' })
  await runInDurableObject(replicator, async (_, state) => {
    state.storage.sql.exec(NEWER)
    await state.storage.deleteAlarm()
  })
  // The session that `watch` asked for may have begun by itself.
  await evictDurableObject(replicator)
  const before = await runInDurableObject(replicator, (_, state) => contents(state))
  const calls = [
    async () => await replicator.committed({ v }),
    async () => await replicator.status({ v }),
    async () => await replicator.watch({ v, bucket: 'c' }),
    async () => await replicator.attach({ v, relay: 'newer/main/0' }),
    async () => await replicator.configs({ v }),
    async () => await replicator.wake({ v }),
  ]
  for (const call of calls) await expect(call()).rejects.toMatchObject(refused)
  const armed = () => runInDurableObject(replicator, async (_, state) => (await state.storage.getAlarm()) ?? 0)
  expect((await armed()) - Date.now()).toBeGreaterThan(30_000)
  expect(await runDurableObjectAlarm(replicator)).toBe(true)
  expect((await armed()) - Date.now()).toBeGreaterThan(30_000)
  expect(await runInDurableObject(replicator, (_, state) => contents(state))).toEqual(before)
  // The newer release comes back.
  await runInDurableObject(
    replicator,
    (_, state) => void state.storage.sql.exec('DELETE FROM migrations WHERE version = 1000'),
  )
  await evictDurableObject(replicator)
  expect(await replicator.committed({ v })).toEqual({ checkpoint: 0, plan: null })
})

test('a bucket refuses by name', async () => {
  const bucket = env.BUCKET.getByName(await bucketObjectName('default', 'newer'))
  const page = {
    v,
    first: 1,
    last: 1,
    count: 1,
    checksum: 7,
    body: '{"op_id":"1","op":"MOVE","checksum":7}',
    committed: 0,
  }
  await bucket.append(page)
  await runInDurableObject(bucket, (_, state) => void state.storage.sql.exec(NEWER))
  await evictDurableObject(bucket)
  await expect((async () => await bucket.state({ v, checkpoint: 1 }))()).rejects.toThrow(
    /deploy the newer release again/,
  )
  await expect((async () => await bucket.append({ ...page, first: 2, last: 2 }))()).rejects.toThrow(
    /deploy the newer release again/,
  )
})
