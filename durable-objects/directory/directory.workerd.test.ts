import { env, evictDurableObject, runInDurableObject } from 'cloudflare:test'
import { expect, test } from 'vitest'
import { MESSAGE_VERSION as v } from '../../protocol/versions.ts'
import { keyRing, open } from '../../tenants/stored/seal.ts'

const KEYS = `one:${Buffer.alloc(32, 1).toString('base64url')}`
const URL = 'postgres://rockpool:geheim@db.example/app'
const asked = { v, name: 'acme', ifMatch: null, reuse: false, identities: '[]', by: 'op' }
const change = JSON.stringify({ secrets: { DATABASE_URL: URL } })

const directory = (name: string) => env.DIRECTORY.getByName(name)
/** The keys are a binding of the script, which tests have none of. */
const withKeys = (name: string, keys: string | undefined) =>
  runInDurableObject(
    directory(name),
    (object) => void Object.assign(Reflect.get(object, 'env') as object, { TENANT_KEYS: keys }),
  )

test('a tenant is kept over restarts, its secrets encrypted, and answered to those who do not have it yet', async () => {
  await withKeys('kept', KEYS)
  const { record, created } = await directory('kept').put({ ...asked, change })
  expect([created, JSON.parse(record)]).toMatchObject([true, { name: 'acme', version: 1, secrets: ['DATABASE_URL'] }])
  await evictDurableObject(directory('kept'))
  const { revision, tenants } = await directory('kept').names({ v })
  expect(tenants).toEqual([{ name: 'acme', version: 1, state: 'active', hosts: [] }])
  expect(await directory('kept').names({ v, revision })).toEqual({ revision, tenants: null, adopted: true })
  const answer = await directory('kept').record({ v, name: 'acme' })
  if (answer.kind !== 'record') throw new Error(answer.kind)
  expect(answer.record).toBe(record)
  expect(open(keyRing(KEYS), { tenant: 'acme', field: 'DATABASE_URL' }, answer.sealed.DATABASE_URL ?? '')).toBe(URL)
  expect(JSON.stringify(answer)).not.toContain('geheim')
  expect(await directory('kept').record({ v, name: 'acme', version: 1 })).toEqual({ kind: 'same' })
  expect(await directory('kept').record({ v, name: 'other' })).toEqual({ kind: 'none' })
})

test('without keys nothing is stored, and what was stored is still read', async () => {
  await withKeys('keyless', undefined)
  const refused = expect.objectContaining({
    code: 'ROCKPOOL_SETTINGS',
    message: expect.stringContaining('TENANT_KEYS'),
  })
  await expect((async () => await directory('keyless').put({ ...asked, change }))()).rejects.toEqual(refused)
  expect((await directory('keyless').names({ v })).tenants).toEqual([])
})

test('what tenants report counts against the budget of the deployment, over restarts, until an operator lets one go on', async () => {
  await withKeys('budget', KEYS)
  const give = (dollars: string | undefined) =>
    runInDurableObject(
      directory('budget'),
      (object) => void Object.assign(Reflect.get(object, 'env') as object, { BUDGET_DOLLARS_DAY: dollars }),
    )
  const due = Date.now() + 60_000
  const usage = { day: new Date().toISOString().slice(0, 10), rows: 950_000, requests: 0, awakeMs: 0 }
  await directory('budget').put({ ...asked, change })
  // An earlier version says no usage, and without a budget there is none to compare with.
  expect(await directory('budget').heard({ v, name: 'acme', due })).toEqual({ pausedUntil: null })
  expect(await directory('budget').heard({ v, name: 'acme', due, usage })).toEqual({ pausedUntil: null })
  expect(await directory('budget').spent({ v, limit: 10 })).toMatchObject({ budget: null, tenants: [] })
  await give('1')
  const midnight = (Math.floor(Date.now() / 86_400_000) + 1) * 86_400_000
  expect(await directory('budget').heard({ v, name: 'acme', due, usage })).toEqual({ pausedUntil: midnight })
  await evictDurableObject(directory('budget'))
  await give('1')
  expect(await directory('budget').spent({ v, limit: 10 })).toMatchObject({
    budget: 1,
    dollars: 0.95,
    tenants: [{ name: 'acme', dollars: 0.95, paused: true }],
  })
  const [entry] = await directory('budget').audit({ v, limit: 1 })
  expect(entry).toMatchObject({ by: 'budget', action: 'pause', tenant: 'acme' })
  await directory('budget').setState({ v, name: 'acme', state: 'active', ifMatch: null, by: 'op' })
  expect(await directory('budget').heard({ v, name: 'acme', due, usage })).toEqual({ pausedUntil: null })
})

test('older code refuses storage that it cannot read', async () => {
  await directory('newer').names({ v })
  const newer = 'INSERT INTO migrations (version, reads) VALUES (1000, 1000)'
  await runInDurableObject(directory('newer'), (_, state) => void state.storage.sql.exec(newer))
  await evictDurableObject(directory('newer'))
  await expect((async () => await directory('newer').names({ v }))()).rejects.toThrow(/deploy the newer release again/)
})

test('a message of another version is refused', async () => {
  await expect((async () => await directory('versions').names({ v: v + 2 }))()).rejects.toMatchObject({
    code: 'ROCKPOOL_MESSAGE_VERSION',
  })
})

test('a class of a later version stores nothing and says so', async () => {
  const response = await env.WRITER.getByName('acme').fetch('https://writer/')
  expect([response.status, await response.json()]).toMatchObject([501, { error: { code: 'ROCKPOOL_NOT_YET' } }])
  const tables = await runInDurableObject(env.WRITER.getByName('acme'), (_, state) =>
    state.storage.sql.exec('SELECT count(*) AS n FROM sqlite_master').one(),
  )
  expect(tables).toEqual({ n: 0 })
})
