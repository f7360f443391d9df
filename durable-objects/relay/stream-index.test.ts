import { expect, test } from 'vitest'
import { StreamIndex } from './stream-index.ts'

test('a key is known while a stream has it', () => {
  const index = new StreamIndex<number>()
  index.add('a', 1)
  index.add('a', 1)
  expect([...index.get('a')]).toEqual([1])
  index.add('a', 2)
  index.add('a', 3)
  expect([...index.get('a')]).toEqual([1, 2, 3])
  expect(index.delete('a', 4)).toBe(false)
  expect(index.delete('a', 1)).toBe(false)
  expect(index.delete('a', 3)).toBe(false)
  expect([...index.get('a')]).toEqual([2])
  expect(index.delete('a', 2)).toBe(true)
  expect(index.has('a')).toBe(false)
  expect([...index.get('a')]).toEqual([])
  expect(index.delete('a', 2)).toBe(false)
  expect(index.size).toBe(0)
})

test('a stream that does not have the only stream of a key takes nothing away', () => {
  const index = new StreamIndex<number>()
  index.add('a', 1)
  expect(index.delete('a', 2)).toBe(false)
  expect([...index.get('a')]).toEqual([1])
})
