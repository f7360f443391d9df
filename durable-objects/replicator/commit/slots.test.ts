import { expect, test } from 'vitest'
import { Slots } from './slots.ts'

test('slots are limited and granted in the order of the calls, also when the limit changes', async () => {
  const slots = new Slots(2)
  const began: number[] = []
  const take = (n: number) => void slots.take().then(() => began.push(n))
  const soon = () => new Promise((resolve) => setImmediate(resolve))
  for (let n = 1; n <= 6; n++) take(n)
  await soon()
  expect(began).toEqual([1, 2])
  slots.leave()
  // In the turn in which one leaves nobody overtakes who waits.
  take(7)
  await soon()
  expect(began).toEqual([1, 2, 3])
  slots.limit = 4
  await soon()
  expect(began).toEqual([1, 2, 3, 4, 5])
  slots.limit = 1
  for (let left = 0; left < 3; left++) slots.leave()
  await soon()
  expect(began).toHaveLength(5)
  slots.leave()
  await soon()
  expect(began).toEqual([1, 2, 3, 4, 5, 6])
})
