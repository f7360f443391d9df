import { beforeEach, expect, test, vi } from 'vitest'
import type { SourceConnection, SourceKind } from '../../../sources/source.ts'
import type { FormerSource, OwnTenant } from '../../../tenants/of-object.ts'
import type { ReplicationSettings } from '../../../tenants/replication.ts'
import { FormerSources, GIVE_UP_MS, type FormerSourcesPorts } from './former-sources.ts'

const since = '2026-11-30T10:00:00.000Z'
let now = Date.parse(since)
let former: FormerSource[] = []
let asked = 0
/** What was done in which database, and those that cannot be reached. */
let done: string[] = []
let down = new Set<string>()
let reasons: string[] = []

beforeEach(() => {
  vi.spyOn(console, 'warn').mockImplementation(() => {})
  now = Date.parse(since)
  former = []
  asked = 0
  done = []
  down = new Set()
  reasons = []
})

const add = (id: string, url: string, isCurrentSlot = true) =>
  former.push({ id, url, isCurrentSlot, database: url, slot: 's', since, replication: {} as ReplicationSettings })

function connection(url: string): SourceConnection {
  const reach = async <T>(value: T): Promise<T> => {
    if (down.has(url)) throw new Error(`${url} is down`)
    return value
  }
  return {
    // Two addresses may lead to one database.
    identify: () => reach({ database: url.replace('alias.', '') }),
    leave: async () => void done.push(await reach(`leave ${url}`)),
    forget: async () => void done.push(await reach(`forget ${url}`)),
    close: async () => void done.push(`close ${url}`),
  } as Partial<SourceConnection> as SourceConnection
}

const sources = () =>
  new FormerSources({
    store: {
      state: { storageId: () => 'id' },
      diagnostics: { add: ({ reason }: { reason: string }) => void reasons.push(reason) },
    } as unknown as FormerSourcesPorts['store'],
    tenant: () =>
      ({
        former: async () => (asked++, [...former]),
        left: async (id: string) => void (former = former.filter((each) => each.id !== id)),
      }) as Partial<OwnTenant> as OwnTenant,
    kindOf: () =>
      ({ connect: ({ url }) => connection(url) }) as Partial<
        SourceKind<ReplicationSettings>
      > as SourceKind<ReplicationSettings>,
    now: () => now,
  })
const here = connection('new')

test('what is left behind goes once; then nobody is asked again before the tenant is changed', async () => {
  add('a', 'old')
  const all = sources()
  await all.leave({ version: '1' }, here)
  await all.leave({ version: '1' }, here)
  expect([done, former, asked]).toEqual([['leave old', 'close old'], [], 1])
  add('b', 'older')
  await all.leave({ version: '2' }, here)
  expect([done.at(-2), former, asked]).toEqual(['leave older', [], 2])
})

test('the same database under another name loses neither slot nor publication, but a slot of another name goes', async () => {
  add('a', 'alias.new')
  add('b', 'alias.new', false)
  await sources().leave({ version: '1' }, here)
  expect(done.filter((each) => !each.startsWith('close'))).toEqual(['forget alias.new'])
  expect(former).toEqual([])
})

test('one that cannot be reached is reported and tried again with each session, the others are not kept by it', async () => {
  add('a', 'old')
  add('b', 'older')
  down.add('old')
  const all = sources()
  await all.leave({ version: '1' }, here)
  await all.leave({ version: '1' }, here)
  expect(former.map(({ id }) => id)).toEqual(['a'])
  expect(reasons).toEqual(Array(2).fill(expect.stringMatching(/slot s in old.* tried again: old is down/)))
  down.clear()
  await all.leave({ version: '1' }, here)
  expect([former, done.at(-2)]).toEqual([[], 'leave old'])
})

test('after a day it is given up, and said', async () => {
  add('a', 'old')
  down.add('old')
  now += GIVE_UP_MS
  await sources().leave({ version: '1' }, here)
  expect(former).toEqual([])
  expect(reasons).toEqual([expect.stringMatching(/Somebody has to: SELECT pg_drop_replication_slot\('s'\)/)])
})

test('a Directory that does not answer stops no session; a deletion waits for every database', async () => {
  const silent = sources()
  add('a', 'old')
  down.add('old')
  await expect(silent.leaveAll()).rejects.toThrow(/old is down/)
  expect(former.length).toBe(1)
  down.clear()
  await silent.leaveAll()
  expect(former).toEqual([])
})
