import { describe, expect, test } from 'vitest'
import type { TokenIdentity } from '../../tenants/stored/identities.ts'
import { formerField } from '../../tenants/stored/former.ts'
import { sourceName } from '../../tenants/stored/names.ts'
import { tenantChange, type TenantChange } from '../../tenants/stored/record.ts'
import { keyRing, open, sealedBy, type KeyRing } from '../../tenants/stored/seal.ts'
import { testDatabase } from '../test-database.ts'
import { bury, left, put, rekey, REKEY_STEP, setState, TOMBSTONE_MS, type Put } from './decisions.ts'
import { DirectoryStore } from './storage.ts'

const key = (byte: number) => Buffer.alloc(32, byte).toString('base64url')
const RING = keyRing(`one:${key(1)}`)
const PLACE = { location: 'weur', jurisdiction: null } as const
const NOW = new Date('2026-11-30T12:00:00Z')
const fail = (): never => {
  throw new Error('there is no such tenant')
}
const URL_OF = (name: string) => `postgres://rockpool:geheim@${name}.example:5432/app`
const conflict = (message: string | RegExp, status = 409) =>
  expect.objectContaining({ code: 'ROCKPOOL_TENANT_CONFLICT', status, message: expect.stringMatching(message) })

interface Asked extends Partial<Omit<Put, 'change'>>, Pick<TenantChange, 'location' | 'jurisdiction'> {
  settings?: Record<string, string | null>
  secrets?: Record<string, string | null>
  hosts?: string[]
  tenantClaim?: string | null
  ring?: KeyRing
  now?: Date
}

// The file is long because it has each decision of the Directory.

/** A directory, and how a tenant is put into it. */
function directory(db = testDatabase()) {
  const store = new DirectoryStore(db)
  const make = (
    name: string,
    {
      settings = {},
      secrets,
      hosts,
      tenantClaim,
      location,
      jurisdiction,
      ring = RING,
      now = NOW,
      ...asked
    }: Asked = {},
  ) => {
    const isNew = store.find(name) === null
    const given = secrets ?? (isNew ? { DATABASE_URL: URL_OF(name) } : {})
    const change = tenantChange.parse({ settings, secrets: given, hosts, tenantClaim, location, jurisdiction })
    return put(
      store,
      ring,
      {
        name,
        ifMatch: null,
        reuse: false,
        by: 'op',
        identities: [],
        place: PLACE,
        scripts: null,
        ...asked,
        change,
      },
      now,
    )
  }
  return { db, store, make }
}

describe('a tenant', () => {
  test('is made with a slot, a publication and an audience of its own, and its secrets encrypted', () => {
    const { store, make } = directory()
    const { record, created } = make('acme-eu', { settings: { JWT_ISSUER: 'me' } })
    const own = sourceName('acme-eu')
    expect(own).toMatch(/^rockpool_acme_eu_[0-9a-f]{8}$/)
    expect([created, record]).toEqual([
      true,
      {
        name: 'acme-eu',
        state: 'active',
        version: 1,
        sourceVersion: 1,
        created: NOW.toISOString(),
        changed: NOW.toISOString(),
        settings: { SLOT: own, OWN_PUBLICATION: own, JWT_AUDIENCE: 'rockpool:acme-eu', JWT_ISSUER: 'me' },
        secrets: ['DATABASE_URL'],
        hosts: [],
        tenantClaim: null,
        place: PLACE,
      },
    ])
    const sealed = store.find('acme-eu')?.sealed.DATABASE_URL ?? ''
    expect(open(RING, { tenant: 'acme-eu', field: 'DATABASE_URL' }, sealed)).toBe(URL_OF('acme-eu'))
  })

  test('is changed by what is named; the rest stays, secrets among it, and null takes away', () => {
    const { store, make } = directory()
    make('a', {
      secrets: { DATABASE_URL: URL_OF('a'), JWT_SECRET: 's'.repeat(43) },
      settings: { PUBLICATION_COLUMNS: 'read', SLOT: 'mine' },
    })
    const sealed = store.find('a')?.sealed
    const { record } = make('a', {
      settings: { PUBLICATION_COLUMNS: null, SLOT: null, JWT_ISSUER: 'me' },
      secrets: { JWT_SECRET: null },
    })
    expect(record).toMatchObject({
      version: 2,
      secrets: ['DATABASE_URL'],
      settings: { SLOT: sourceName('a'), JWT_ISSUER: 'me' },
    })
    expect(record.settings).not.toHaveProperty('PUBLICATION_COLUMNS')
    const { DATABASE_URL, JWT_SECRET } = store.find('a')?.sealed ?? {}
    expect([DATABASE_URL, JWT_SECRET]).toEqual([sealed?.DATABASE_URL, undefined])
  })

  test('that moves has its former database among the encrypted secrets until nothing is left of it there', () => {
    const { store, make } = directory()
    make('a')
    make('a', { secrets: { DATABASE_URL: URL_OF('b') } })
    const found = store.find('a')
    const [former] = found?.record.former ?? []
    if (!found || !former) throw new Error('there is no former database')
    const field = formerField(former.id)
    expect(found.record.secrets).not.toContain(field)
    expect(JSON.stringify(found)).not.toContain(URL_OF('a'))
    // It is kept by other changes, and encrypted again with the others.
    make('a', { settings: { JWT_ISSUER: 'me' } })
    rekey(store, keyRing(`two:${key(2)},one:${key(1)}`), '')
    const text = open(keyRing(`two:${key(2)}`), { tenant: 'a', field }, store.find('a')?.sealed[field] ?? '')
    expect(JSON.parse(text)).toMatchObject({ url: URL_OF('a') })
    const { version } = store.find('a')?.record ?? {}
    left(store, { name: 'a', id: 'another' })
    expect(store.find('a')?.record.former).toEqual([former])
    left(store, { name: 'a', id: former.id })
    const after = store.find('a')
    expect([after?.record.version, Object.keys(after?.sealed ?? {})]).toEqual([version, ['DATABASE_URL']])
    expect(after?.record).not.toHaveProperty('former')
    left(store, { name: 'nobody', id: former.id })
  })

  test('has another version of its source when something changes by which it replicates, and not for its tokens', () => {
    const { make } = directory()
    make('a')
    expect(make('a', { settings: { JWT_ISSUER: 'me' } }).record).toMatchObject({ version: 2, sourceVersion: 1 })
    expect(make('a', { settings: { SYNC_CONFIG: 'bucket_definitions: {}' } }).record).toMatchObject({
      version: 3,
      sourceVersion: 3,
    })
    expect(make('a', { secrets: { DATABASE_URL: URL_OF('b') } }).record).toMatchObject({ version: 4, sourceVersion: 4 })
  })

  test.each<[string, Asked, RegExp]>([
    ['no database', { secrets: {} }, /DATABASE_URL: is not set/],
    ['a URL of something else', { secrets: { DATABASE_URL: 'mysql://geheim' } }, /DATABASE_URL: must be/],
    ['a setting that is wrong', { settings: { SLOT: 'No Slot' } }, /SLOT: must be/],
  ])('with %s is refused, and nothing is stored', (_, asked, message) => {
    const { store, make } = directory()
    const refused = expect.objectContaining({
      code: 'ROCKPOOL_SETTINGS',
      status: 422,
      message: expect.stringMatching(message),
    })
    expect(() => make('a', asked)).toThrow(refused)
    expect(() => make('a', asked)).not.toThrow(/geheim/)
    expect([store.find('a'), [...store.named]]).toEqual([null, []])
  })

  test.each(['sync', 'admin', 't', 'dashboard', 'Big', 'a_b', '', 'x'.repeat(64)])('is not called %s', (name) => {
    expect(() => directory().make(name)).toThrow(expect.objectContaining({ code: 'ROCKPOOL_SETTINGS', status: 422 }))
  })
})

describe('the place of a tenant', () => {
  test('is the one that is said when it is made, else that of the script', () => {
    const { make } = directory()
    expect(make('a', { location: 'apac', jurisdiction: 'eu' }).record.place).toEqual({
      location: 'apac',
      jurisdiction: 'eu',
    })
    expect(make('b', { place: { location: 'weur', jurisdiction: 'us' }, jurisdiction: null }).record.place).toEqual(
      PLACE,
    )
    expect(make('c').record.place).toEqual(PLACE)
  })

  test('is one that exists', () => {
    const { store, make } = directory()
    expect(() => make('a', { jurisdiction: 'moon' as 'eu' })).toThrow(/jurisdiction/)
    expect(() => make('a', { location: 'mars' as 'weur' })).toThrow(/location/)
    expect(store.find('a')).toBeNull()
  })

  test('stays, whatever the script says later; saying it again changes nothing', () => {
    const { store, make } = directory()
    make('a', { jurisdiction: 'eu' })
    for (const other of [
      { jurisdiction: 'us' },
      { jurisdiction: null },
      { location: 'apac' },
      { location: null },
    ] as const) {
      expect(() => make('a', other)).toThrow(conflict(/the place of the tenant a was fixed when it was made/))
    }
    const again = { jurisdiction: 'eu', location: 'weur', place: { location: 'apac', jurisdiction: 'us' } } as const
    expect(make('a', again).record).toMatchObject({ version: 2, place: { location: 'weur', jurisdiction: 'eu' } })
    expect(store.find('a')?.record.version).toBe(2)
  })

  test('of a record of before stays unsaid', () => {
    const { store, make } = directory()
    make('a')
    const { place: _, ...older } = store.find('a')?.record ?? fail()
    store.write({ record: older, sealed: store.find('a')?.sealed ?? {} })
    expect(make('a', { settings: { JWT_ISSUER: 'me' } }).record).not.toHaveProperty('place')
    expect(() => make('a', { jurisdiction: 'eu' })).toThrow(conflict(/the place of the tenant a/))
  })
})

describe('the tenant of the script', () => {
  test('is adopted before any other is stored, and once', () => {
    const { store, make } = directory()
    expect(store.adopted).toBe(false)
    expect(() => make('a', { scripts: 'first' })).toThrow(conflict(/adopt it first/))
    expect(make('default', { scripts: 'first' }).created).toBe(true)
    expect(make('a', { scripts: 'first' }).created).toBe(true)
    setState(store, { name: 'default', state: 'deleting', ifMatch: null, by: 'op' }, NOW)
    bury(store, { name: 'default', by: 'op' }, NOW)
    // It does not come back with the settings that are still there.
    expect(store.adopted).toBe(true)
  })

  test('is none beside tenants that were stored before there was adoption', () => {
    const { db, store, make } = directory()
    make('a')
    db.run("DELETE FROM state WHERE key = 'adopted'")
    expect(store.adopted).toBe(true)
    expect(make('b', { scripts: 'first' }).created).toBe(true)
  })
})

describe('two tenants', () => {
  test.each<[string, Asked, Asked, RegExp]>([
    ['slot', { settings: { SLOT: 'one' } }, { settings: { SLOT: 'one' } }, /tenant a has the same slot: one/],
    [
      'publication',
      { settings: { OWN_PUBLICATION: 'one' } },
      { settings: { OWN_PUBLICATION: 'one' } },
      /same publication: one/,
    ],
    ['host', { hosts: ['a.example', 'b.example'] }, { hosts: ['b.example'] }, /same host: b.example/],
  ])('cannot have the same %s', (_, first, second, message) => {
    const { store, make } = directory()
    make('a', first)
    expect(() => make('b', second)).toThrow(conflict(message))
    expect(store.find('b')).toBeNull()
    make('b')
    expect(() => make('b', second)).toThrow(conflict(message))
    // What the first one gives away the second may have.
    make('a', { settings: { SLOT: null, OWN_PUBLICATION: null }, hosts: [] })
    expect(make('b', second).record.version).toBe(2)
  })

  test('have the publication of an owner each, but not one in one database', () => {
    const { make } = directory()
    const settings = { PUBLICATION: 'theirs' }
    make('a', { settings })
    make('b', { settings })
    const again = { settings, secrets: { DATABASE_URL: 'postgres://other@a.EXAMPLE/app' } }
    expect(() => make('c', again)).toThrow(conflict(/tenant a has the same publication: a.example:5432\/app\/theirs/))
  })

  test('cannot accept one token, unless the same claim tells them apart', () => {
    const { db, make } = directory()
    const identities: TokenIdentity[] = [{ key: 'oct:geheim', audiences: ['authenticated'], issuers: null }]
    make('a', { identities })
    expect(() => make('b', { identities })).toThrow(conflict(/accepted by the tenant a as well/))
    expect(() => make('b', { identities, tenantClaim: 'org' })).toThrow(conflict(/tenant a/))
    make('a', { identities, tenantClaim: 'org' })
    expect(() => make('b', { identities, tenantClaim: 'team' })).toThrow(conflict(/tenant a/))
    make('b', { identities, tenantClaim: 'org' })
    // It cannot be taken back by one of them.
    expect(() => make('a', { identities, tenantClaim: null })).toThrow(conflict(/tenant b/))
    expect(JSON.stringify(db.all('SELECT * FROM identities'))).not.toContain('geheim')
  })
})

describe('a change', () => {
  test('is of the version that was read, and is refused for another', () => {
    const { make } = directory()
    expect(() => make('a', { ifMatch: 1 })).toThrow(conflict(/a does not exist/, 412))
    make('a', { ifMatch: 'absent' })
    expect(() => make('a', { ifMatch: 'absent' })).toThrow(conflict(/there is a tenant a already/, 412))
    expect(make('a', { ifMatch: 1 }).record.version).toBe(2)
    expect(() => make('a', { ifMatch: 1 })).toThrow(conflict(/has version 2, and version 1/, 412))
  })

  test('of the state is a new version; the same state is none; and from a deletion there is no way back', () => {
    const { store, make } = directory()
    make('a')
    const to = (state: 'active' | 'suspended' | 'deleting') =>
      setState(store, { name: 'a', state, ifMatch: null, by: 'op' }, NOW)
    expect([to('active').version, to('suspended').version, to('suspended').version, to('deleting').version]).toEqual([
      1, 2, 2, 3,
    ])
    expect(() => to('active')).toThrow(conflict(/is being deleted/))
    // What is dropped in its database is dropped in the one that it had.
    expect(() => make('a', { secrets: { DATABASE_URL: URL_OF('b') } })).toThrow(conflict(/is being deleted/))
    expect(store.named.get('a')?.state).toBe('deleting')
    expect(() => setState(store, { name: 'b', state: 'active', ifMatch: null, by: 'op' }, NOW)).toThrow(
      expect.objectContaining({ code: 'ROCKPOOL_TENANT', status: 404 }),
    )
  })

  test('of the state begins a job, also when it is the state already; a deletion goes on whatever is asked', () => {
    const { store, make } = directory()
    make('a')
    const to = (state: 'active' | 'suspended' | 'deleting', keepSource?: boolean) =>
      setState(
        store,
        { name: 'a', state, ifMatch: null, by: 'op', ...(keepSource !== undefined && { keepSource }) },
        NOW,
      )
    for (const state of ['active', 'suspended', 'deleting'] as const) {
      to(state)
      expect(store.job('a')).toMatchObject({ state, phase: 'telling', keepSource: false })
    }
    const running = store.job('a')
    if (running === null) throw new Error('there is no job')
    store.setJob('a', {
      ...running,
      phase: 'source',
      due: NOW.getTime() + 60_000,
      error: 'the database does not answer',
    })
    to('deleting')
    expect(store.job('a')).toMatchObject({ phase: 'source', keepSource: false, due: NOW.getTime() + 60_000 })
    to('deleting', true)
    expect(store.job('a')).toMatchObject({ phase: 'source', keepSource: true, due: NOW.getTime() })
    expect([store.dueJobs(NOW.getTime() - 1, 10), store.dueJobs(NOW.getTime(), 10), store.nextJob]).toEqual([
      [],
      ['a'],
      NOW.getTime(),
    ])
    bury(store, { name: 'a', by: 'op' }, NOW)
    expect([store.job('a'), store.nextJob]).toEqual([null, null])
  })

  test('stands in the audit with who made it, newest first', () => {
    const { store, make } = directory()
    make('a', { by: 'ann' })
    make('a', { by: 'bob' })
    setState(store, { name: 'a', state: 'suspended', ifMatch: null, by: 'cy' }, NOW)
    expect(store.audit(Infinity, 2).map(({ number, by, action, tenant }) => [number, by, action, tenant])).toEqual([
      [3, 'cy', 'suspended', 'a'],
      [2, 'bob', 'change', 'a'],
    ])
    expect(store.audit(2, 10).map(({ action }) => action)).toEqual(['create'])
  })
})

describe('a deleted tenant', () => {
  test('leaves nothing but its name, which is given again after 30 days or when asked for', () => {
    const { db, store, make } = directory()
    const identities: TokenIdentity[] = [{ key: 'k', audiences: ['a'], issuers: null }]
    make('a', { hosts: ['a.example'], identities })
    expect(() => bury(store, { name: 'a', by: 'op' }, NOW)).toThrow(conflict(/is active, and is not being deleted/))
    setState(store, { name: 'a', state: 'deleting', ifMatch: null, by: 'op' }, NOW)
    bury(store, { name: 'a', by: 'op' }, NOW)
    expect([store.find('a'), store.named.size]).toEqual([null, 0])
    for (const table of ['tenants', 'owned', 'identities']) expect(db.all(`SELECT * FROM ${table}`)).toEqual([])
    expect(() => make('a')).toThrow(conflict(/not given again before 2026-12-30/))
    expect(make('b', { hosts: ['a.example'], identities }).created).toBe(true)
    expect(make('a', { reuse: true }).record.version).toBe(1)
    setState(store, { name: 'b', state: 'deleting', ifMatch: null, by: 'op' }, NOW)
    bury(store, { name: 'b', by: 'op' }, NOW)
    expect(make('b', { now: new Date(NOW.getTime() + TOMBSTONE_MS) }).created).toBe(true)
  })
})

describe('another key', () => {
  test('is used for all secrets in steps, with no new version; then the old one is not needed', () => {
    const { store, make } = directory()
    const names = Array.from({ length: REKEY_STEP + 1 }, (_, i) => `t${i}`)
    for (const name of names) make(name)
    const both = keyRing(`two:${key(2)},one:${key(1)}`)
    make('t0', { ring: both, secrets: { DATABASE_URL: URL_OF('t0') } })
    const first = rekey(store, both, '')
    expect(first).toEqual({ rekeyed: REKEY_STEP - 1, next: names.toSorted()[REKEY_STEP - 1] })
    expect(rekey(store, both, first.next ?? '')).toEqual({ rekeyed: 1, next: null })
    expect(rekey(store, both, '').rekeyed).toBe(0)
    for (const name of names) expect(sealedBy(store.find(name)?.sealed.DATABASE_URL ?? '')).toBe('two')
    expect(store.find('t7')?.record.version).toBe(1)
    expect(make('t7', { ring: keyRing(`two:${key(2)}`) }).record.version).toBe(2)
  })

  test('is named when it is missing, and nothing is changed', () => {
    const { store, make } = directory()
    make('a')
    const refused = expect.objectContaining({ code: 'ROCKPOOL_TENANT_KEY', message: expect.stringContaining('"one"') })
    expect(() => make('a', { ring: keyRing(`two:${key(2)}`) })).toThrow(refused)
    expect(() => rekey(store, keyRing(`two:${key(2)}`), '')).toThrow(refused)
    expect(store.find('a')?.record.version).toBe(1)
  })
})

describe('a tenant that is due', () => {
  test('is one of whom nothing was heard in time; who is suspended or deleted is not expected', () => {
    const { store, make } = directory()
    for (const name of ['a', 'b', 'c']) make(name)
    const at = (time: number, limit = 10) => store.overdue(time, limit).map(({ name }) => name)
    // Nothing was heard of new ones.
    expect(at(0).sort()).toEqual(['a', 'b', 'c'])
    store.heard('a', 3_000)
    store.heard('b', 2_000)
    store.heard('c', 9_000)
    store.heard('nobody', 1)
    expect([at(1_999), at(2_000), at(5_000), at(5_000, 1)]).toEqual([[], ['b'], ['b', 'a'], ['b']])
    const to = (state: 'active' | 'suspended' | 'deleting') =>
      setState(store, { name: 'b', state, ifMatch: null, by: 'op' }, NOW)
    to('suspended')
    store.heard('b', 1)
    expect(at(5_000)).toEqual(['a'])
    to('active')
    expect(at(5_000)).toEqual(['b', 'a'])
    to('deleting')
    bury(store, { name: 'b', by: 'op' }, NOW)
    expect(at(5_000)).toEqual(['a'])
    // What has changed is of interest at once.
    make('c', { settings: { JWT_ISSUER: 'me' } })
    expect(at(0)).toEqual(['c'])
  })

  test('is everyone after a break of the cron trigger: each is woken within 10 minutes, in random order', () => {
    const { store, make } = directory()
    const names = Array.from({ length: 400 }, (_, n) => `t${n}`)
    const MINUTE = 60_000
    let now = NOW.getTime()
    for (const name of names) make(name)
    make('idle')
    setState(store, { name: 'idle', state: 'suspended', ifMatch: null, by: 'op' }, NOW)
    for (const name of names) store.heard(name, now + 4 * 60 * MINUTE)
    const run = (): string[] => {
      store.cronRan(now)
      const woken = store.overdue(now, 1_000).map(({ name }) => name)
      for (const name of woken) store.heard(name, now + 4 * 60 * MINUTE)
      return woken
    }
    for (let minute = 0; minute < 60; minute++, now += MINUTE) expect(run()).toEqual([])
    now += 30 * MINUTE
    const runs = Array.from({ length: 10 }, () => {
      const woken = run()
      now += MINUTE
      return woken
    })
    expect(runs.flat().sort()).toEqual([...names].sort())
    expect(runs.flat()).not.toEqual([...names].sort())
    // Not all of them in the same minute.
    expect(Math.max(...runs.map((woken) => woken.length))).toBeLessThan(150)
    for (let minute = 0; minute < 60; minute++, now += MINUTE) expect(run()).toEqual([])
  })

  test('was, with all others, before there was a list of them', () => {
    const { db, make } = directory()
    make('a')
    setState(make('b') && new DirectoryStore(db), { name: 'b', state: 'suspended', ifMatch: null, by: 'op' }, NOW)
    db.run('DROP TABLE due')
    for (const table of ['revocations', 'telling', 'spending', 'spending_day']) db.run(`DROP TABLE ${table}`)
    db.run('DELETE FROM migrations WHERE version >= 3')
    expect(new DirectoryStore(db).overdue(0, 10)).toEqual([{ name: 'a', due: 0 }])
  })
})

test('a Directory that starts again knows what it knew, and lists names under the same revision until one changes', () => {
  const { db, store, make } = directory()
  make('a', { hosts: ['a.example'] })
  const again = new DirectoryStore(db)
  expect([again.revision, [...again.named.values()]]).toEqual([
    store.revision,
    [{ name: 'a', version: 1, state: 'active', hosts: ['a.example'] }],
  ])
  const { revision } = again
  make('b')
  expect(new DirectoryStore(db).revision).toBeGreaterThan(revision)
})
