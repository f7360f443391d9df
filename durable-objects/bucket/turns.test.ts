import { expect, test } from 'vitest'
import { Turns } from './turns.ts'

test('only so many at a time; a turn that is released, or not renewed for a minute, is free again', () => {
  let now = 0
  const turns = new Turns(2, () => now)
  const [a, b, c] = [{}, {}, {}]
  expect([turns.take(a), turns.take(b), turns.take(c)]).toEqual([true, true, false])
  turns.release(b)
  expect(turns.take(c)).toBe(true)
  now = 50_000
  expect(turns.take(a)).toBe(true)
  now = 70_000
  // `c` was evicted in the middle of its work.
  expect(turns.take(b)).toBe(true)
  expect(turns.take(c)).toBe(false)
})
