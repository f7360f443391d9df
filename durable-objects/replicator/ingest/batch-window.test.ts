import { expect, test } from 'vitest'
import { BatchWindow } from './batch-window.ts'

/** What is waited for when transactions come at an even rate for so many seconds. */
function waits(window: BatchWindow, rate: number, seconds: number, start = 0, before = 0): number[] {
  return Array.from({ length: rate * seconds }, (_, n) => window.wait(before + n + 1, start + (n * 1_000) / rate))
}

test('without a window nothing waits', () => {
  expect(new Set(waits(new BatchWindow(0), 1_000, 3))).toEqual(new Set([0]))
})

test('below 20 transactions a second nothing waits', () => {
  expect(new Set(waits(new BatchWindow(50), 19, 10))).toEqual(new Set([0]))
})

test('from 20 a second on each batch waits, once the rate was measured for a second', () => {
  const all = waits(new BatchWindow(50), 20, 10)
  expect(all.slice(0, 20)).toEqual(Array<number>(20).fill(0))
  expect(new Set(all.slice(20))).toEqual(new Set([50]))
})

test('after a pause the first one does not wait, and a slow stream ends the waiting within a second', () => {
  const window = new BatchWindow(50)
  expect(waits(window, 100, 2).at(-1)).toBe(50)
  expect(window.wait(201, 60_000)).toBe(0)
  expect(waits(window, 100, 3, 60_001, 201).at(-1)).toBe(50)
  expect(waits(window, 5, 3, 63_001, 501).slice(6)).toEqual(Array<number>(9).fill(0))
})
