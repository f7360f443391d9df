import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Fraction, FRACTION_MS, rounded } from './fraction.ts'
import { gapFrame } from './notice.ts'
import { CLOCK } from '../../shared/clock.ts'

beforeEach(() => void vi.useFakeTimers({ now: 0 }))
afterEach(() => void vi.useRealTimers())

/** A comparison that is looked at every 100 ms until it is over. */
function run(milliseconds: number, doneAt: (now: number) => number) {
  const told: [at: number, fraction: number][] = []
  let asked = 0
  const of = () => (asked++, doneAt(Date.now()))
  const fraction = new Fraction(of, () => told.push([Date.now(), rounded(doneAt(Date.now()))]), CLOCK)
  for (let now = 0; now <= milliseconds; now += 100) {
    fraction.moved(true)
    vi.advanceTimersByTime(100)
  }
  return { told, fraction, asked: () => asked }
}

test('progress is announced in hundredths, at most every few seconds', () => {
  // Nearly nothing for 50 s, then 5 % in 5 s.
  const { told, asked } = run(99_900, (now) => (now < 50_000 ? now / 5_000_000 : Math.round(now / 1_000) / 100))
  expect(told).toEqual([
    [0, 0],
    ...Array.from({ length: 11 }, (_, n) => [50_000 + n * FRACTION_MS, rounded(0.5 + n * 0.05 + 1e-9)]),
  ])
  expect(asked()).toBe(1 + 100_000 / FRACTION_MS)
})

test('progress is announced also when nothing follows, and never after the end', () => {
  let done = 0
  const told: number[] = []
  const fraction = new Fraction(
    () => done,
    () => told.push(done),
    CLOCK,
  )
  fraction.moved(true)
  done = 0.3
  fraction.moved(true)
  vi.advanceTimersByTime(FRACTION_MS)
  expect([told, vi.getTimerCount()]).toEqual([[0, 0.3], 0])
  done = 0.4
  fraction.moved(true)
  fraction.moved(false)
  vi.advanceTimersByTime(2 * FRACTION_MS)
  expect([told, vi.getTimerCount()]).toEqual([[0, 0.3], 0])
  // The next one is told at once, also from where the last one ended.
  done = 0.3
  fraction.moved(true)
  expect(told).toEqual([0, 0.3, 0.3])
})

test('progress is 1 only when everything is done, and a frame has no progress without a comparison', () => {
  expect([0, 0.999, 1].map(rounded)).toEqual([0, 0.99, 1])
  expect(JSON.parse(gapFrame(7, 'p', [], 0))).toMatchObject({ checkpoint: 7, comparing: 0 })
  expect(JSON.parse(gapFrame(7, 'p'))).not.toHaveProperty('comparing')
})
