import { expect, test, vi } from 'vitest'
import { answered, callDeadline, Unanswered, untilAnswered, waitMs, type Attempt } from './retry.ts'
import { sleep } from '../../protocol/sleep.ts'

const QUICK = { deadlineMs: 20, firstMs: 1, maxMs: 2 }
const never = () => new Promise<never>(() => {})

test('a call that never answers is given up, and knows it', async () => {
  let seen: Attempt | undefined
  const call = (attempt: Attempt) => {
    seen = attempt
    return never()
  }
  await expect(answered(call, 20)).rejects.toThrow(Unanswered)
  expect(seen?.expired).toBe(true)
})

test('no timer is left when the answer came', async () => {
  vi.useFakeTimers()
  try {
    await answered(async () => 1, 1_000_000)
    await expect(
      answered(async () => {
        throw new Error('no')
      }, 1_000_000),
    ).rejects.toThrow('no')
    expect(vi.getTimerCount()).toBe(0)
  } finally {
    vi.useRealTimers()
  }
})

test('a call that hangs is repeated, and each failure is told', async () => {
  const failures: [string, number][] = []
  let calls = 0
  const answer = await untilAnswered(
    async () => {
      calls++
      if (calls === 1) return never()
      if (calls === 2) throw new Error('it was reset')
      return 'yes'
    },
    { ...QUICK, failed: (error, attempts) => failures.push([(error as Error).name, attempts]) },
  )
  expect(answer).toBe('yes')
  expect(failures).toEqual([
    ['Unanswered', 1],
    ['Error', 2],
  ])
})

test('what is not wanted any more is not repeated', async () => {
  let calls = 0
  const call = async () => {
    calls++
    throw new Error('no')
  }
  expect(await untilAnswered(call, { ...QUICK, wanted: () => calls < 3 })).toBeNull()
  expect(calls).toBe(3)
})

test('what `begin` throws ends the waiting', async () => {
  let begun = 0
  const begin = () => {
    if (++begun === 2) throw new Error('the budget is spent')
  }
  await expect(untilAnswered(never, { ...QUICK, begin })).rejects.toThrow('the budget is spent')
})

test('a pause ends with the signal', async () => {
  const over = new AbortController()
  const slept = sleep(1_000_000, over.signal)
  over.abort()
  await slept
  await sleep(1_000_000, over.signal)
})

test('pauses double up to a limit, and are ten times as long for an overloaded object', () => {
  const retry = { firstMs: 50, maxMs: 10_000 }
  const wait = (attempts: number, error?: unknown) => waitMs(retry, attempts, error, () => 0.5)
  expect([1, 2, 3, 100].map((attempts) => wait(attempts))).toEqual([50, 100, 200, 10_000])
  expect(wait(1, Object.assign(new Error('busy'), { overloaded: true }))).toBe(500)
})

test('CALL_SECONDS is the deadline; what is not valid counts as missing', () => {
  expect(callDeadline({})).toBe(30_000)
  expect(callDeadline({ CALL_SECONDS: '1.5' })).toBe(1_500)
  expect(callDeadline({ CALL_SECONDS: 'soon' })).toBe(30_000)
  expect(callDeadline({ CALL_SECONDS: 0 })).toBe(30_000)
})

test('nothing that the spending limit of the account has rejected is tried again within a minute', () => {
  const spent = new Error("Exceeded the account's spending cap for Durable Objects.")
  for (const random of [0, 0.5, 0.999])
    expect(waitMs({ firstMs: 50, maxMs: 5_000 }, 1, spent, () => random)).toBeGreaterThanOrEqual(60_000)
})
