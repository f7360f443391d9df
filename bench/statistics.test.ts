import { expect, test } from 'vitest'
import { summary } from './statistics.ts'

test('ranks are the nearest ones', () => {
  const values = Array.from({ length: 100 }, (_, i) => 100 - i)
  expect(summary(values)).toEqual({ min: 1, median: 50, p95: 95, p99: 99, max: 100 })
  expect(summary([3, 1, 2])).toEqual({ min: 1, median: 2, p95: 3, p99: 3, max: 3 })
  expect(summary([7])).toEqual({ min: 7, median: 7, p95: 7, p99: 7, max: 7 })
  expect(() => summary([])).toThrow('nothing')
})
