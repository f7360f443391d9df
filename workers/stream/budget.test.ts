import { expect, test } from 'vitest'
import { Budget } from './budget.ts'

test('it is told once that a budget is spent', () => {
  let spent = 0
  const budget = new Budget({ calls: 3, bytes: 100 }, () => spent++)
  budget.call()
  budget.call()
  budget.bytes(99)
  expect(spent).toBe(0)
  budget.call()
  budget.call()
  expect(spent).toBe(1)
  budget.bytes(1)
  budget.bytes(50)
  expect(spent).toBe(2)
})
