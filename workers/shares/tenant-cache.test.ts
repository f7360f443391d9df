import { expect, test } from 'vitest'
import { TenantCache } from './tenant-cache.ts'
import { TENANT_PART } from './tenant-part.ts'

const entry = (size: number) => ({ size, part: TENANT_PART })

test('what was used longest ago goes first', () => {
  const cache = new TenantCache<string>(100)
  for (const n of [1, 2, 3, 4]) cache.set(`t${n}`, 'k', `${n}`, entry(25))
  expect(cache.get('t1', 'k')).toBe('1')
  cache.set('t5', 'k', '5', entry(25))
  expect([1, 2, 3, 4, 5].map((n) => cache.get(`t${n}`, 'k'))).toEqual(['1', undefined, '3', '4', '5'])
  expect(cache.size).toBe(100)
})

test('a tenant has a quarter at most, and drives out nothing of others while there is room', () => {
  const cache = new TenantCache<number>(100)
  cache.set('b', 'k', 0, entry(25))
  cache.set('c', 'k', 0, entry(25))
  for (let n = 0; n < 1_000; n++) cache.set('a', `${n}`, n, entry(5))
  expect([cache.sizeOf('a'), cache.size]).toEqual([25, 75])
  expect([cache.get('b', 'k'), cache.get('c', 'k'), cache.get('a', '994'), cache.get('a', '995')]).toEqual([
    0,
    0,
    undefined,
    995,
  ])
})

test('the newest of a tenant is kept, however large it is; a tenant that is alone has everything', () => {
  const cache = new TenantCache<string>(100)
  for (const name of ['b', 'c', 'd']) cache.set(name, 'k', name, entry(20))
  cache.set('a', 'small', 'small', entry(5))
  cache.set('a', 'large', 'large', entry(70))
  expect([cache.get('a', 'small'), cache.get('a', 'large'), cache.get('d', 'k'), cache.size]).toEqual([
    undefined,
    'large',
    'd',
    90,
  ])
  const alone = new TenantCache<number>(100)
  for (let n = 0; n < 4; n++) alone.set('default', `${n}`, n, { size: 25, part: null })
  expect(alone.size).toBe(100)
})

test('an entry that is set again is counted once', () => {
  const cache = new TenantCache<number>(100)
  for (let n = 0; n < 50; n++) cache.set('a', 'k', n, entry(10))
  expect([cache.size, cache.sizeOf('a'), cache.get('a', 'k')]).toEqual([10, 10, 49])
})
