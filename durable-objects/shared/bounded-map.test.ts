import { expect, test } from 'vitest'
import { BoundedMap } from './bounded-map.ts'

test('a new key removes the one that was added first, and no other', () => {
  const map = new BoundedMap<string, number>(2)
  map.set('a', 1)
  map.set('b', 2)
  map.set('c', 3)
  expect([map.size, map.get('a'), map.get('b'), map.get('c')]).toEqual([2, undefined, 2, 3])
})

test('a key that is present is replaced, removes nothing and keeps its age', () => {
  const map = new BoundedMap<string, number>(2)
  map.set('a', 1)
  map.set('b', 2)
  map.set('a', 3)
  expect([map.size, map.get('a'), map.get('b')]).toEqual([2, 3, 2])
  map.set('c', 4)
  expect([map.has('a'), map.has('b'), map.has('c')]).toEqual([false, true, true])
})

test('a deleted key makes room; null and undefined are values', () => {
  const map = new BoundedMap<string, null | undefined>(2)
  map.set('a', null)
  map.set('b', undefined)
  expect([map.delete('a'), map.delete('a')]).toEqual([true, false])
  map.set('c', null)
  expect([map.size, map.has('b'), map.get('c')]).toEqual([2, true, null])
})
