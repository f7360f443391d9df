import { expect, test } from 'vitest'
import { idleWaitMs, retryWaitMs } from './schedule.ts'

test('idle polls double up to the maximum', () => {
  const settings = { idlePollSeconds: 60, idlePollMaxSeconds: 14_400 }
  expect([0, 1, 2, 7, 8, 9, 10_000].map((polls) => idleWaitMs(polls, settings, 0) / 1_000)).toEqual([
    60, 120, 240, 7_680, 14_400, 14_400, 14_400,
  ])
})

test('a slot that Postgres takes away when it is not used is used in time', () => {
  const settings = { idlePollSeconds: 60, idlePollMaxSeconds: 14_400 }
  expect([0, 1, 5, 50].map((polls) => idleWaitMs(polls, settings, 600_000) / 1_000)).toEqual([60, 120, 300, 300])
})

test('sessions that fail are tried again after half a second, doubled up to a minute, with jitter', () => {
  expect([1, 2, 3, 8, 9, 10_000].map((failures) => retryWaitMs(failures, () => 0.5))).toEqual([
    500, 1_000, 2_000, 60_000, 60_000, 60_000,
  ])
  expect(retryWaitMs(1, () => 0)).toBe(375)
  expect(retryWaitMs(9, () => 1)).toBe(75_000)
})
