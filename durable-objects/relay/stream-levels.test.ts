import { expect, test } from 'vitest'
import { StreamLevels, TOLD_MS } from './stream-levels.ts'

test('a storm of streams above the limit is told once an hour, and refused each time', () => {
  const told: string[] = []
  let now = 1_000_000
  const levels = new StreamLevels(
    (level, streams) => told.push(`${level} ${streams}`),
    () => now,
  )
  const threshold = { warn: 80, refuse: 100 }
  expect([levels.level(79, threshold), told]).toEqual(['within', []])
  for (let n = 80; n < 100; n++) expect(levels.level(n, threshold)).toBe('warn')
  for (let n = 0; n < 10_000; n++) expect(levels.level(100, threshold)).toBe('refuse')
  expect(told).toEqual(['warn 80', 'refuse 100'])
  now += TOLD_MS
  levels.level(100, threshold)
  expect(told).toHaveLength(3)
})
