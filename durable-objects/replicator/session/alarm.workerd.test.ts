import { env, evictDurableObject, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { afterEach, expect, test, vi } from 'vitest'
import { MESSAGE_VERSION } from '../../../protocol/versions.ts'
import { Bucket } from '../../bucket/bucket.ts'
import { Session } from './session.ts'

// When sessions begin. There is no DATABASE_URL here, so one fails as soon as it begins, unless its `run` is played by
// the test.

const FAR = 3_600_000
const v = MESSAGE_VERSION
const stub = env.REPLICATOR.getByName('default')
const alarm = () => runInDurableObject(stub, (_, state) => state.storage.getAlarm())
const setAlarm = (at: number) => runInDurableObject(stub, (_, state) => state.storage.setAlarm(at))
/** As left by an earlier incarnation. */
async function stored(key: string, value: unknown): Promise<void> {
  await runInDurableObject(stub, (_, state) => {
    state.storage.sql.exec(
      'INSERT INTO state VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value',
      ...[key, JSON.stringify(value)],
    )
  })
  await evictDurableObject(stub)
}

afterEach(async () => {
  vi.restoreAllMocks()
  await stored('failing', null)
  await stored('running', false)
  await runInDurableObject(stub, (_, state) => state.storage.deleteAlarm())
})

test('a session that fails is reported, counted and tried again; the error survives an eviction', async () => {
  await setAlarm(Date.now() + FAR)
  await runDurableObjectAlarm(stub)
  await runDurableObjectAlarm(stub)
  await evictDurableObject(stub)
  const status = await stub.status({ v })
  expect(status).toMatchObject({
    state: 'refused',
    error: { code: 'ROCKPOOL_SETTINGS' },
    session: { failures: 2, since: null, count: 0 },
  })
  expect(status.diagnostics.counts).toEqual({ ROCKPOOL_SETTINGS: 2 })
  expect(status.session.next).not.toBeNull()
})

test('an attached relay or a write checkpoint does not shorten a back-off, nor does the cron trigger', async () => {
  await stored('failing', { failures: 3, code: 'ROCKPOOL_SOURCE_UNREACHABLE', message: 'down' })
  const at = Date.now() + FAR
  await setAlarm(at)
  await stub.wake({ v })
  await stub.attach({ v, relay: 'default/relay/0' })
  expect(await alarm()).toBe(at)
})

test('other settings than those under which it failed are tried by the next cron trigger, once', async () => {
  await setAlarm(Date.now() + FAR)
  await runDurableObjectAlarm(stub)
  const at = Date.now() + FAR
  await setAlarm(at)
  await stub.wake({ v })
  expect(await alarm()).toBe(at)
  const settings = await runInDurableObject(stub, (instance) => {
    const before: unknown = Reflect.get(instance, 'env')
    Reflect.set(instance, 'env', { ...env, SLOT: 'another' })
    return before
  })
  await stub.wake({ v })
  await vi.waitFor(async () => expect((await stub.status({ v })).session.failures).toBe(2))
  await setAlarm(at)
  await stub.wake({ v })
  expect(await alarm()).toBe(at)
  await runInDurableObject(stub, (instance) => Reflect.set(instance, 'env', settings))
})

/** A session began: it failed at once. */
const began = () => vi.waitFor(async () => expect((await stub.status({ v })).session.failures).toBeGreaterThan(0))

test('the cron trigger leaves an idle tenant alone, and an attached relay wakes it', async () => {
  const at = Date.now() + FAR
  await setAlarm(at)
  await stub.wake({ v })
  expect(await alarm()).toBe(at)
  await stub.attach({ v, relay: 'default/relay/0' })
  await began()
})

test('an alarm that was lost is set again', async () => {
  await stub.wake({ v })
  await began()
})

test('a replicator that the settings name no more, because the jurisdiction is another one, begins no session and arms no alarm', async () => {
  const begun = vi.spyOn(Session.prototype, 'run')
  const ids: string[] = []
  const elsewhere = { idFromName: (name: string) => (ids.push(name), env.REPLICATOR.idFromName(`eu/${name}`)) }
  await runInDurableObject(stub, async (instance, state) => {
    await state.storage.deleteAlarm()
    const settings = { ...env, DATABASE_URL: 'postgres://nobody@127.0.0.1:1/none', SYNC_CONFIG: 'x' }
    Reflect.set(instance, 'env', { ...settings, JURISDICTION: 'eu', REPLICATOR: { jurisdiction: () => elsewhere } })
    await instance.alarm()
    expect(await state.storage.getAlarm()).toBeNull()
    expect(ids).toEqual(['default'])
    expect(begun).not.toHaveBeenCalled()
    // The local runtime has no jurisdictions: there it is the same object with and without.
    Reflect.set(instance, 'env', { ...settings, JURISDICTION: 'eu' })
    await instance.alarm()
    expect(begun).toHaveBeenCalledOnce()
    expect(await state.storage.getAlarm()).not.toBeNull()
  })
})

test('the guard alarm that a crash leaves is not waited for, and the crash is reported', async () => {
  await stored('running', true)
  await setAlarm(Date.now() + FAR)
  await stub.wake({ v })
  // What `began` looks at says already that the last session was ended.
  await vi.waitFor(async () => expect((await stub.status({ v })).diagnostics.counts.ROCKPOOL_RESTARTED).toBe(1))
})

test('what the last session could not follow is still known after the object was started again', async () => {
  const names = [{ schema: 'public', name: 'a' }]
  await stored('refused', [{ table: 'public.a', reason: 'no key', names }])
  expect((await stub.status({ v })).refusedTables).toEqual([{ table: 'public.a', reason: 'no key' }])
})

test('the alarm is armed again before anything else, so that a session that ends in no way at all is followed by one', async () => {
  const settings = { DATABASE_URL: 'postgres://nobody@127.0.0.1:1/none', SYNC_CONFIG: 'x' }
  const storage = await runInDurableObject(stub, (instance, state) => {
    Object.assign(Reflect.get(instance, 'env'), settings)
    return state.storage
  })
  let armed: number | null = null
  vi.spyOn(Session.prototype, 'run').mockImplementation(async () => {
    armed = await storage.getAlarm()
    throw new Error('it ended')
  })
  await setAlarm(Date.now() + FAR)
  await runDurableObjectAlarm(stub)
  expect((await stub.status({ v })).error).toEqual({ code: 'ROCKPOOL_INTERNAL', message: 'it ended' })
  expect(armed).not.toBeNull()
})

test('a session start wakes no bucket that is followed; once a day all are asked whether they still are', async () => {
  const asked = vi.spyOn(Bucket.prototype, 'publish').mockResolvedValue({ none: false })
  for (let i = 0; i < 5; i++) await stub.watch({ v, bucket: `followed ${i}` })
  await began()
  const start = async () => {
    asked.mockClear()
    await setAlarm(Date.now() + FAR)
    await runDurableObjectAlarm(stub)
    await stub.status({ v })
    return asked.mock.calls.length
  }
  expect([await start(), await start(), await start()]).toEqual([0, 0, 0])
  await stored('followersAsked', Date.now() - 86_400_001)
  // A new incarnation notifies all of them, because it does not know whom the last one notified. That a day has passed
  // is no second reason.
  await vi.waitFor(async () => expect((await stub.status({ v })) && asked.mock.calls.length).toBeGreaterThanOrEqual(5))
  expect(await start()).toBe(5)
  expect(await start()).toBe(0)
})
