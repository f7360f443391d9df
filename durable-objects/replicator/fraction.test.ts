import { expect, test } from 'vitest'
import { Fraction, FRACTION_MS, rounded } from './fraction.ts'
import { gapFrame } from './notice.ts'

test('clients are told when a hundredth more is done, and not more often than every few seconds', () => {
  let now = 0
  const fraction = new Fraction(() => now)
  const asked: number[] = []
  const told: [at: number, fraction: number][] = []
  // A comparison of 100 s with a look at it every 100 ms: for half of the time it is slow.
  for (; now <= 100_000; now += 100) {
    const done = now < 50_000 ? now / 5_000_000 : now / 100_000
    const of = () => (asked.push(now), done)
    if (fraction.isDue(of)) told.push([now, rounded(done)])
  }
  expect(asked).toHaveLength(1 + 100_000 / FRACTION_MS)
  expect(told).toEqual([
    [0, 0],
    ...Array.from({ length: 11 }, (_, n) => [50_000 + n * FRACTION_MS, 0.5 + n * 0.05]).map(([at = 0, done = 0]) => [
      at,
      rounded(done + 1e-9),
    ]),
  ])
})

test('what begins anew is told at once, also from where the last one ended', () => {
  let now = 0
  const fraction = new Fraction(() => now)
  expect(fraction.isDue(() => 0.3)).toBe(true)
  expect(fraction.isDue(null)).toBe(false)
  now = 1
  expect(fraction.isDue(() => 0.3)).toBe(true)
})

test('not all of it is done before it is, and a frame says nothing of a comparison that there is not', () => {
  expect([0, 0.999, 1].map(rounded)).toEqual([0, 0.99, 1])
  expect(JSON.parse(gapFrame(7, 'p', [], 0))).toMatchObject({ checkpoint: 7, comparing: 0 })
  expect(JSON.parse(gapFrame(7, 'p'))).not.toHaveProperty('comparing')
})
