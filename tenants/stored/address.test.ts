import { describe, expect, test } from 'vitest'
import { addresseeOf, pathWithin, type Addresses } from './address.ts'

const named = (name: string, state = 'active') => ({ name, version: 1, state, hosts: [] })
const addresses = (changed: Partial<Addresses> = {}): Addresses => ({
  byName: new Map(
    [named('acme'), named('other'), named('default'), named('asleep', 'suspended')].map((each) => [each.name, each]),
  ),
  byHost: new Map(),
  hosts: [],
  wildcard: null,
  root: 'default',
  ...changed,
})
const at = (url: string, changed: Partial<Addresses> = {}) => addresseeOf(new URL(url), addresses(changed))
const acme = { name: 'acme' }
const HOSTS = {
  byHost: new Map([
    ['sync.acme.example', 'acme'],
    ['asleep.example', 'asleep'],
  ]),
  hosts: ['sync.example'],
}

describe('by path', () => {
  test.each([
    ['https://any.example/t/acme/status', acme],
    ['https://any.example/t/acme', acme],
    ['https://any.example/t/nobody/status', 'nobody'],
    ['https://any.example/t/asleep/status', 'nobody'],
    ['https://any.example/t//status', 'nobody'],
    ['https://any.example/t/ACME/status', 'nobody'],
    ['https://any.example/t/%61cme/status', 'nobody'],
    ['https://any.example/x/t/acme/status', { name: 'default' }],
    ['https://any.example/status', { name: 'default' }],
  ])('%s', (url, expected) => expect(at(url)).toEqual(expected))

  test('two tenants in one address are the first, with a path that is none', () => {
    const url = 'https://any.example/t/acme/t/other/status'
    expect([at(url), pathWithin(new URL(url).pathname)]).toEqual([acme, '/t/other/status'])
  })

  test('the root belongs to nobody when that tenant does not exist', () => {
    expect(at('https://any.example/status', { byName: new Map([['acme', named('acme')]]) })).toBe('nobody')
  })
})

describe('by host', () => {
  test.each([
    ['https://sync.acme.example/sync/stream', acme],
    ['https://SYNC.acme.example/sync/stream', acme],
    // One host, one tenant: the path of another one, or its own, is none.
    ['https://sync.acme.example/t/other/status', 'nobody'],
    ['https://sync.acme.example/t/acme/status', 'nobody'],
    ['https://asleep.example/status', 'nobody'],
    ['https://sync.example/t/other/status', { name: 'other' }],
    ['https://sync.example/status', { name: 'default' }],
    // A name that somebody pointed at us.
    ['https://forged.example/status', 'nobody'],
    ['https://forged.example/t/acme/status', 'nobody'],
    ['https://x.sync.acme.example/status', 'nobody'],
  ])('%s', (url, expected) => expect(at(url, HOSTS)).toEqual(expected))

  test('a wildcard is a tenant for each name below it', () => {
    const wildcard = { wildcard: 'sync.example', hosts: ['sync.example'] }
    expect(at('https://acme.sync.example/status', wildcard)).toEqual(acme)
    expect(at('https://nobody.sync.example/status', wildcard)).toBe('nobody')
    expect(at('https://a.acme.sync.example/status', wildcard)).toBe('nobody')
    expect(at('https://sync.example/t/acme/status', wildcard)).toEqual(acme)
    expect(at('https://evilsync.example/status', wildcard)).toBe('nobody')
  })
})
