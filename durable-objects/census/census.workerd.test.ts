import { env, evictDurableObject, runInDurableObject } from 'cloudflare:test'
import { expect, test, vi } from 'vitest'
import type { Clients } from '../../protocol/messages/census.ts'
import { censusOf } from './calls.ts'
import { bounded, MAX_BYTES, MAX_RELAYS, MAX_STREAMS } from './kept.ts'

const placed = (name: string) => ({ name, place: { location: null, jurisdiction: null } })
const stub = (name: string) => {
  if (!env.CENSUS) throw new Error('there is no CENSUS')
  return env.CENSUS.getByName(name)
}
const calls = (name: string) => {
  const census = censusOf(env, placed(name), 5_000)
  if (census === null) throw new Error('there is no CENSUS')
  return census
}
const keysOf = (name: string) =>
  runInDurableObject(stub(name), async (_, { storage }) => [...(await storage.list()).keys()])
const at = '2026-11-30T10:00:00.000Z'
const clients = (user: string): Clients => ({
  at,
  total: 1,
  streams: [{ user, client: '', sdk: '', since: at, buckets: 1, position: null, held: 0 }],
  more: 0,
  silent: [],
})

test('it has what it was told last, also after it has slept, and is empty before and after that', async () => {
  const census = calls('one')
  const empty = { clients: null, relays: {} }
  expect(await census.look()).toEqual(empty)
  expect(await keysOf('one')).toEqual([])
  await census.report({ relay: 'one/main/0', streams: 2 })
  await census.keep(clients('zoë \u{1f600}'))
  await evictDurableObject(stub('one'))
  const look = await census.look()
  expect(look).toEqual({
    clients: clients('zoë \u{1f600}'),
    relays: { 'one/main/0': { streams: 2, at: expect.any(String) } },
  })
  expect(await calls('two').look()).toEqual(empty)
  await census.erase()
  expect([await census.look(), await keysOf('one')]).toEqual([empty, []])
  await evictDurableObject(stub('one'))
  expect(await census.look()).toEqual(empty)
})

test('nothing of itty-durable can be called: no member is read, set or called from outside', async () => {
  vi.spyOn(console, 'error').mockImplementation(() => {})
  const census = calls('closed')
  await census.keep(clients('ann'))
  const headers = { 'do-content': JSON.stringify([{ at: 'forged' }]) }
  const paths = [
    ...['set/clients', 'set/keep', 'call/destroy', 'call/persist', 'call/getPersistable', 'get-prop/state'].map(
      (path) => `do/${path}`,
    ),
    ...['destroy', 'persist', 'constructor', '__proto__', 'toString', 'fetch', ''],
  ]
  for (const path of paths) {
    for (const method of ['GET', 'POST']) {
      const init = { method, headers, ...(method === 'POST' ? { body: '{}' } : {}) }
      expect([path, method, (await stub('closed').fetch(`https://census/${path}`, init)).status]).toEqual([
        path,
        method,
        404,
      ])
    }
  }
  for (const method of ['GET', 'PUT', 'DELETE'])
    expect((await stub('closed').fetch('https://census/erase', { method })).status).toBe(404)
  expect((await census.look()).clients).toEqual(clients('ann'))
})

test('what has another shape is refused, and what was kept stays', async () => {
  vi.spyOn(console, 'error').mockImplementation(() => {})
  const census = calls('shaped')
  await census.keep(clients('ann'))
  const post = async (path: string, body: string) =>
    (await stub('shaped').fetch(`https://census/${path}`, { method: 'POST', body })).status
  expect(await post('keep', '{"at": 1}')).toBe(500)
  expect(await post('keep', JSON.stringify({ ...clients('ann'), other: 1 }))).toBe(500)
  expect(await post('report', '{"relay": "a", "streams": -1}')).toBe(500)
  expect(await post('keep', 'no JSON')).toBe(500)
  expect((await census.look()).clients).toEqual(clients('ann'))
})

test('the largest list and the most relays are stored as one value', async () => {
  const census = calls('large')
  const one = {
    ...clients('').streams[0],
    user: '\u{1f600}'.repeat(64),
    client: 'c'.repeat(128),
    sdk: '',
    since: at,
    buckets: 1,
    position: 1,
    held: 1,
  }
  const { streams, more } = bounded(Array.from({ length: MAX_STREAMS + 1 }, () => one))
  expect(Buffer.byteLength(JSON.stringify(streams))).toBeGreaterThan(MAX_BYTES * 0.9)
  await census.keep({ at, total: MAX_STREAMS + 1, streams, more, silent: [] })
  for (let n = 0; n < MAX_RELAYS + 3; n++) await census.report({ relay: `large/main/${n}`, streams: n })
  await evictDurableObject(stub('large'))
  const { clients: kept, relays } = await census.look()
  expect([kept?.streams.length, Object.keys(relays).length]).toEqual([streams.length, MAX_RELAYS])
  expect(relays['large/main/0']).toBeUndefined()
})
