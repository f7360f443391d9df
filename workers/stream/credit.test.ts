import { expect, test } from 'vitest'
import { Credit } from './credit.ts'
import { CREDIT_STEP_BYTES, MAX_UNTAKEN_BYTES, READ_LENGTH } from './limits.ts'

/** Sends lines of a size until nothing goes any more. */
function fill(credit: Credit, bytes: number): number {
  let lines = 0
  for (; credit.allows(bytes); lines++) credit.take(bytes)
  return lines
}

test('nothing goes without credit; a line may exceed what is left, and what it exceeds is owed', () => {
  const credit = new Credit()
  expect(credit.allows(1)).toBe(false)
  credit.add(100)
  expect(credit.allows(5_000)).toBe(true)
  credit.take(5_000)
  expect(credit.allows(1)).toBe(false)
  credit.add(4_900)
  expect(credit.allows(1)).toBe(false)
  credit.add(100)
  expect(credit.allows(1)).toBe(true)
})

test.each([100, 5_000, READ_LENGTH])(
  'however much credit there is, lines of %i bytes stop at what may be on its way',
  (bytes) => {
    const credit = new Credit()
    credit.add(1_000_000_000)
    expect(fill(credit, bytes)).toBeGreaterThan(0)
    expect(credit.outstanding).toBeLessThanOrEqual(MAX_UNTAKEN_BYTES)
  },
)

test.each([100, 20_000, READ_LENGTH, MAX_UNTAKEN_BYTES * 2])(
  'a client that gives credit back in steps is never stuck with lines of %i bytes, also behind small ones',
  (bytes) => {
    for (const step of [1, 64 * 1024, 250_000, CREDIT_STEP_BYTES]) {
      const credit = new Credit()
      credit.add(1_000_000)
      let had = 0
      const take = (size: number): void => {
        credit.take(size)
        had += size
        if (had < step) return
        credit.add(had)
        had = 0
      }
      for (let n = 0; n < 5_000; n++) {
        expect(credit.allows(60)).toBe(true)
        take(60)
        if (n % 100 !== 0) continue
        expect([step, credit.allows(bytes)]).toEqual([step, true])
        take(bytes)
      }
    }
  },
)
