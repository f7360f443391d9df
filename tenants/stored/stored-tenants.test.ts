import { beforeEach, describe, expect, test, vi } from 'vitest'
import { put, rekey, setState } from '../../durable-objects/directory/decisions.ts'
import { DirectoryStore } from '../../durable-objects/directory/storage.ts'
import { testDatabase } from '../../durable-objects/test-database.ts'
import type { TokenIdentity } from './identities.ts'
import { tenantChange } from './record.ts'
import { keyRing, type KeyRing } from './seal.ts'
import {
  FRESH_MS,
  KEEP_MS,
  KnownTenants,
  MAX_RECORDS,
  RETRY_MS,
  StoredTenants,
  type Deployment,
  type DirectoryCalls,
} from './stored-tenants.ts'

const RING = keyRing(`one:${Buffer.alloc(32, 1).toString('base64url')}`)
const OTHER = keyRing(`two:${Buffer.alloc(32, 2).toString('base64url')}`)
const BOTH = keyRing(
  `two:${Buffer.alloc(32, 2).toString('base64url')},one:${Buffer.alloc(32, 1).toString('base64url')}`,
)
const BACK = keyRing(
  `one:${Buffer.alloc(32, 1).toString('base64url')},two:${Buffer.alloc(32, 2).toString('base64url')}`,
)
const identities: TokenIdentity[] = []

beforeEach(() => void vi.spyOn(console, 'warn').mockImplementation(() => {}))

// The file is long because everything is asked of one isolate and its Directory.

/** An isolate over a Directory whose calls are counted, and which may be told to hang. */
function isolate({ ring = RING, bindings = {} }: { ring?: KeyRing; bindings?: Deployment['bindings'] } = {}) {
  const store = new DirectoryStore(testDatabase())
  const calls = { names: 0, record: 0 }
  const state = { now: 1_000_000, down: false, ring, slow: null as Promise<void> | null }
  const answer = <T>(kind: 'names' | 'record', value: () => T): Promise<T> => {
    calls[kind]++
    if (state.down) return Promise.reject(new Error('there was no answer for 5 s'))
    const said = value()
    return (state.slow ?? Promise.resolve()).then(() => said)
  }
  const directory: DirectoryCalls = {
    names: ({ revision }) =>
      answer('names', () => ({
        revision: store.revision,
        tenants: revision === store.revision ? null : [...store.named.values()],
        adopted: store.adopted,
      })),
    overdue: async ({ limit }) =>
      state.down ? Promise.reject(new Error('there was no answer for 5 s')) : store.overdue(state.now, limit),
    record: ({ name, version }) =>
      answer('record', () => {
        const found = store.find(name)
        if (!found) return { kind: 'none' }
        return found.record.version === version
          ? { kind: 'same' }
          : { kind: 'record', record: JSON.stringify(found.record), sealed: found.sealed }
      }),
  }
  const deployment: Deployment = {
    bindings,
    bundled: 'bundled',
    root: 'default',
    hosts: [],
    wildcard: null,
    ring: () => state.ring,
    now: () => state.now,
  }
  const tenants = new StoredTenants(directory, deployment, new KnownTenants())
  const change = (name: string, given: object = {}) => {
    const first = store.find(name) === null ? { secrets: { DATABASE_URL: `postgres://me@${name}.example/app` } } : {}
    put(
      store,
      RING,
      {
        name,
        ifMatch: null,
        reuse: false,
        by: 'op',
        identities,
        place: { location: null, jurisdiction: null },
        scripts: null,
        change: tenantChange.parse({ ...first, ...given }),
      },
      new Date(),
    )
  }
  const suspend = (name: string) => setState(store, { name, state: 'suspended', ifMatch: null, by: 'op' }, new Date())
  const nameAt = (url: string) => tenants.nameFor(new Request(url))
  return { store, calls, state, tenants, change, suspend, nameAt }
}

const nothing = expect.objectContaining({
  code: 'PSYNC_S2002',
  status: 404,
  message: 'there is nothing at this address',
})

describe('the list of all names', () => {
  test('is asked for once in 30 seconds, and 100,000 unknown names call nothing beside it', async () => {
    const { calls, state, change, nameAt } = isolate()
    change('acme')
    for (let i = 0; i < 100_000; i++) {
      if (i % 1_000 === 0) await expect(nameAt(`https://x.example/t/n${i}/status`)).rejects.toEqual(nothing)
      else await nameAt(`https://x.example/t/n${i}/status`).catch(() => {})
    }
    expect(await nameAt('https://x.example/t/acme/status')).toBe('acme')
    expect(calls).toEqual({ names: 1, record: 0 })
    state.now += FRESH_MS
    await nameAt('https://x.example/t/acme/status')
    expect(calls).toEqual({ names: 2, record: 0 })
  })

  test('knows a new tenant, a new host and a suspension 30 seconds later; strangers learn the same of all that is not served', async () => {
    const { state, change, suspend, nameAt } = isolate()
    change('acme')
    await nameAt('https://x.example/t/acme/status')
    change('later', { hosts: ['later.example'] })
    suspend('acme')
    expect(await nameAt('https://x.example/t/acme/status')).toBe('acme')
    state.now += FRESH_MS
    expect(await nameAt('https://later.example/status')).toBe('later')
    for (const url of [
      'https://later.example/t/acme/status',
      'https://x.example/t/acme/status',
      'https://x.example/t/nobody/status',
    ]) {
      await expect(nameAt(url)).rejects.toEqual(nothing)
    }
  })
})

test('a copy under a key that is gone is asked for again, once in ten seconds: it may be encrypted again', async () => {
  const { state, store, calls, tenants, change } = isolate()
  change('acme')
  const url = () => tenants.secret('acme', 'source.url')
  expect(await url()).toMatch(/acme\.example/)
  state.ring = OTHER
  state.now += RETRY_MS
  await expect(url()).rejects.toMatchObject({ code: 'ROCKPOOL_TENANT_KEY' })
  const asked = calls.record
  for (let n = 0; n < 100; n++) await expect(url()).rejects.toMatchObject({ code: 'ROCKPOOL_TENANT_KEY' })
  expect(calls.record).toBe(asked)
  expect(rekey(store, BOTH, '').rekeyed).toBe(1)
  state.now += RETRY_MS
  expect(await url()).toMatch(/acme\.example/)
})

test('a record that is encrypted again just after it was read is read again at once', async () => {
  const { store, state, tenants, change } = isolate()
  change('acme')
  const url = () => tenants.secret('acme', 'source.url')
  expect(await url()).toMatch(/acme\.example/)
  expect(rekey(store, BOTH, '').rekeyed).toBe(1)
  state.ring = OTHER
  expect(await url()).toMatch(/acme\.example/)
  expect(await tenants.secret('acme', 'token.keys')).toBeDefined()
  // And once more: only what did not help is not repeated for a while.
  state.ring = BOTH
  expect(rekey(store, BACK, '').rekeyed).toBe(1)
  state.ring = RING
  expect(await url()).toMatch(/acme\.example/)
})

test('a tenant whose key is not known here is served from its copy while the Directory does not answer', async () => {
  const { state, tenants, change } = isolate()
  change('acme')
  await tenants.find('acme')
  state.ring = OTHER
  state.down = true
  state.now += FRESH_MS
  await expect(tenants.secret('acme', 'source.url')).rejects.toMatchObject({ code: 'ROCKPOOL_TENANT_KEY' })
  expect((await tenants.find('acme')).name).toBe('acme')
})

test('an answer that was under way while a tenant was changed here does not hide the change', async () => {
  const { state, tenants, change, suspend, nameAt } = isolate()
  change('acme')
  const slow = Promise.withResolvers<void>()
  state.slow = slow.promise
  const asking = nameAt('https://x.example/t/acme/')
  state.slow = null
  suspend('acme')
  tenants.changed('acme')
  slow.resolve()
  expect(await asking).toBe('acme')
  await expect(nameAt('https://x.example/t/acme/')).rejects.toEqual(nothing)
})

test('a change that was made here is known here at once', async () => {
  const { tenants, change, nameAt } = isolate()
  await nameAt('https://x.example/t/acme/').catch(() => {})
  change('acme')
  tenants.changed('acme')
  expect(await nameAt('https://x.example/t/acme/')).toBe('acme')
  await tenants.find('acme')
  change('acme', { hosts: ['acme.example'], settings: { JWT_ISSUER: 'me' } })
  tenants.changed('acme')
  expect(await nameAt('https://acme.example/')).toBe('acme')
  expect((await tenants.secret('acme', 'token.keys')).JWT_ISSUER).toBe('me')
})

describe('a record', () => {
  test('has the settings of the tenant over those that all have alike, and none that the script has for itself', async () => {
    const bindings = {
      SLOT: 'of_script',
      PUBLICATION: 'of_script',
      JWT_SECRET: 'of script',
      WAL_KEEP_GB: '3',
      DATABASE_URL: 'postgres://script',
    }
    const { tenants, change } = isolate({ bindings })
    change('acme', { settings: { SLOT: 'mine', JWT_ISSUER: 'me' } })
    const tenant = await tenants.find('acme')
    expect(tenant.replication).toMatchObject({ slot: 'mine', walKeepGb: 3, syncConfig: 'bundled' })
    expect(tenant.replication.publication).toBeUndefined()
    expect(await tenants.secret('acme', 'source.url')).toBe('postgres://me@acme.example/app')
    const tokens = await tenants.secret('acme', 'token.keys')
    expect(tokens).toMatchObject({
      JWT_AUDIENCE: 'rockpool:acme',
      JWT_ISSUER: 'me',
      JWKS_REJECT_IP_RANGES: 'local',
      JWT_SECRET: undefined,
    })
    expect(JSON.stringify(tenant)).not.toContain('postgres://')
  })

  test('is asked for once, and again when the list says another version', async () => {
    const { calls, state, tenants, change, nameAt } = isolate()
    change('acme')
    await nameAt('https://x.example/t/acme/')
    const { version } = await tenants.find('acme')
    for (let i = 0; i < 10; i++) await tenants.secret('acme', 'source.url')
    expect(calls.record).toBe(1)
    change('acme', { settings: { JWT_ISSUER: 'me' } })
    state.now += FRESH_MS
    await nameAt('https://x.example/t/acme/')
    // Nothing by which it replicates has changed.
    expect((await tenants.find('acme')).version).toBe(version)
    expect((await tenants.secret('acme', 'token.keys')).JWT_ISSUER).toBe('me')
    expect(calls).toEqual({ names: 2, record: 2 })
    change('acme', { secrets: { DATABASE_URL: 'postgres://me@moved.example/app' } })
    state.now += FRESH_MS
    await nameAt('https://x.example/t/acme/')
    expect((await tenants.find('acme')).version).not.toBe(version)
  })

  test('is asked for by objects, which have no list, every 30 seconds at most', async () => {
    const { calls, state, tenants, change, suspend } = isolate()
    change('acme')
    for (let i = 0; i < 3; i++) await tenants.find('acme')
    state.now += FRESH_MS
    for (let i = 0; i < 3; i++) await tenants.find('acme')
    expect(calls).toEqual({ names: 0, record: 2 })
    suspend('acme')
    state.now += FRESH_MS
    await expect(tenants.find('acme')).rejects.toMatchObject({
      code: 'ROCKPOOL_TENANT',
      message: expect.stringContaining('suspended'),
    })
    await expect(tenants.find('nobody')).rejects.toMatchObject({ code: 'ROCKPOOL_TENANT' })
  })

  test('costs no call where only the compaction of a bucket is wanted', async () => {
    const { calls, tenants } = isolate({ bindings: { COMPACTION_SECONDS: '7' } })
    expect(await tenants.compaction()).toMatchObject({ seconds: 7 })
    expect(calls).toEqual({ names: 0, record: 0 })
  })

  test('says which claim its tokens must have, when it shares keys with others', async () => {
    const { tenants, change } = isolate()
    change('acme', { tenantClaim: 'org' })
    expect(await tenants.secret('acme', 'token.keys')).toMatchObject({ mustSay: { claim: 'org', value: 'acme' } })
  })

  test('is forgotten when it was used longest ago and there are too many', async () => {
    const { calls, tenants, change } = isolate()
    for (let i = 0; i <= MAX_RECORDS; i++) change(`t${i}`)
    for (let i = 0; i < MAX_RECORDS; i++) await tenants.find(`t${i}`)
    await tenants.find('t0')
    await tenants.find(`t${MAX_RECORDS}`)
    expect(calls.record).toBe(MAX_RECORDS + 1)
    await tenants.find('t0')
    expect(calls.record).toBe(MAX_RECORDS + 1)
    await tenants.find('t1')
    expect(calls.record).toBe(MAX_RECORDS + 2)
  })
})

describe('without the Directory', () => {
  test('known tenants go on for 24 hours, with one question in 10 seconds; unknown ones are refused', async () => {
    const { calls, state, tenants, change, nameAt } = isolate()
    change('acme')
    await nameAt('https://x.example/t/acme/')
    await tenants.find('acme')
    state.down = true
    state.now += FRESH_MS
    const begun = { ...calls }
    for (let i = 0; i < 100; i++) {
      expect(await nameAt('https://x.example/t/acme/')).toBe('acme')
      expect((await tenants.find('acme')).name).toBe('acme')
      expect(await tenants.secret('acme', 'source.url')).toContain('acme')
    }
    await expect(nameAt('https://x.example/t/nobody/')).rejects.toEqual(nothing)
    expect([calls.names - begun.names, calls.record - begun.record]).toEqual([1, 1])
    state.now += RETRY_MS
    await nameAt('https://x.example/t/acme/')
    expect(calls.names - begun.names).toBe(2)
    state.now += KEEP_MS - FRESH_MS - RETRY_MS
    expect(await nameAt('https://x.example/t/acme/')).toBe('acme')
    state.now += RETRY_MS
    const refused = expect.objectContaining({ code: 'ROCKPOOL_UNANSWERED', status: 503 })
    await expect(nameAt('https://x.example/t/acme/')).rejects.toEqual(refused)
    await expect(tenants.find('acme')).rejects.toEqual(refused)
    state.down = false
    state.now += RETRY_MS
    expect(await nameAt('https://x.example/t/acme/')).toBe('acme')
  })

  test('an isolate that knows nothing says that it is not answered, and not that there is nothing', async () => {
    const { state, tenants, nameAt } = isolate()
    state.down = true
    await expect(nameAt('https://x.example/t/acme/')).rejects.toMatchObject({ code: 'ROCKPOOL_UNANSWERED' })
    await expect(tenants.find('acme')).rejects.toMatchObject({ code: 'ROCKPOOL_UNANSWERED' })
  })

  test('a secret under a key that is not known here is named by the key, and the copy under the key of before goes on serving', async () => {
    const { state, tenants, change } = isolate()
    change('acme')
    expect(await tenants.secret('acme', 'source.url')).toContain('acme')
    state.ring = OTHER
    await expect(tenants.secret('acme', 'source.url')).rejects.toMatchObject({ code: 'ROCKPOOL_TENANT_KEY' })
    expect((await tenants.find('acme')).name).toBe('acme')
    state.ring = RING
    expect(await tenants.secret('acme', 'source.url')).toContain('acme')
  })
})

describe('the cron trigger wakes', () => {
  const names = async (tenants: StoredTenants) => (await tenants.overdue(10)).map(({ name }) => name)

  test('tenants of whom nothing was heard in time, by one question', async () => {
    const { store, calls, state, tenants, change } = isolate()
    for (const name of ['acme', 'other', 'third']) change(name)
    store.heard('acme', state.now + 60_000)
    store.heard('other', state.now - 1)
    expect(await names(tenants)).toEqual(['third', 'other'])
    expect(calls).toEqual({ names: 0, record: 0 })
    state.now += 60_000
    expect(await names(tenants)).toEqual(['third', 'other', 'acme'])
  })

  test('all that are known while the Directory does not answer', async () => {
    const { store, state, tenants, change, suspend } = isolate()
    for (const name of ['acme', 'other', 'third']) change(name)
    for (const name of ['acme', 'other', 'third']) store.heard(name, Infinity)
    suspend('third')
    await tenants.nameFor(new Request('https://x.example/t/acme/'))
    state.down = true
    expect((await names(tenants)).sort()).toEqual(['acme', 'other'])
  })
})

describe('the tenant that the settings of the script are', () => {
  const bindings = {
    DATABASE_URL: 'postgres://me@script.example/app',
    JWT_SECRET: 'a'.repeat(43),
    JWT_AUDIENCE: 'app',
    SLOT: 'mine',
  }

  test('is served at the root, and woken each minute, until it is adopted; then its record counts', async () => {
    const { state, tenants, change, nameAt } = isolate({ bindings })
    expect(await nameAt('https://x.example/status')).toBe('default')
    expect((await tenants.find('default')).replication.slot).toBe('mine')
    expect(await tenants.secret('default', 'source.url')).toBe(bindings.DATABASE_URL)
    expect(await tenants.overdue(10)).toEqual([{ name: 'default', due: null }])
    change('default', { settings: { SLOT: 'another' } })
    state.now += FRESH_MS
    expect((await tenants.find('default')).replication.slot).toBe('another')
    expect(await tenants.secret('default', 'source.url')).toBe('postgres://me@default.example/app')
    expect(await tenants.secret('default', 'token.keys')).not.toHaveProperty('JWT_SECRET', bindings.JWT_SECRET)
    expect((await tenants.overdue(10)).map(({ due }) => due)).toEqual([0])
  })

  test('is none once any tenant was stored, nor where the settings name no database', async () => {
    const { change, nameAt } = isolate({ bindings })
    change('acme')
    await expect(nameAt('https://x.example/status')).rejects.toEqual(nothing)
    const without = isolate({ bindings: { ...bindings, DATABASE_URL: '' } })
    await expect(without.nameAt('https://x.example/status')).rejects.toEqual(nothing)
    await expect(without.tenants.find('default')).rejects.toMatchObject({ code: 'ROCKPOOL_TENANT' })
  })
})
