import { expect, test } from 'vitest'
import { RelayChoice, relayOrder } from './relay-order.ts'

test('the streams of a user go to one relay, and to the others in turn when that is full', () => {
  const order = relayOrder('alice', 4)
  expect(relayOrder('alice', 4)).toEqual(order)
  expect([...order].sort()).toEqual([0, 1, 2, 3])
  expect(order.every((n, i) => i === 0 || n === ((order[i - 1] ?? 0) + 1) % 4)).toBe(true)
  expect(relayOrder('anybody', 1)).toEqual([0])
})

test('users are spread', () => {
  const counts = [0, 0, 0, 0]
  for (let n = 0; n < 4_000; n++) counts[relayOrder(`user-${n}`, 4)[0] ?? 0]!++
  for (const count of counts) expect(count).toBeGreaterThan(800)
})

test('a stream passes over relays that are full, until one has taken it', () => {
  const relays = new RelayChoice([2, 0, 1])
  const seen = []
  for (; relays.next !== undefined; relays.full()) seen.push([relays.next, relays.passed])
  expect(seen).toEqual([
    [2, 0],
    [0, 1],
    [1, 2],
  ])
  relays.served()
  expect([relays.next, relays.passed]).toEqual([2, 0])
})
