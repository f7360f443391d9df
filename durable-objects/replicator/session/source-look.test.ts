import { describe, expect, test } from 'vitest'
import { RockpoolError } from '../../../protocol/errors.ts'
import { isSettled, lookOf, oneAtATime } from './source-look.ts'

test('a database that does not answer, and one that answers and refuses', () => {
  const look = (code: 'ROCKPOOL_SOURCE_UNREACHABLE' | 'ROCKPOOL_SOURCE_SETTINGS' | 'ROCKPOOL_SETTINGS') =>
    lookOf({ facts: new RockpoolError(code, 'why'), problem: null, began: 1_000, ended: 3_000 })
  expect(look('ROCKPOOL_SOURCE_UNREACHABLE')).toEqual({
    at: '1970-01-01T00:00:03.000Z',
    ms: 2_000,
    reachable: false,
    version: null,
    problem: { code: 'ROCKPOOL_SOURCE_UNREACHABLE', message: 'why' },
  })
  expect([look('ROCKPOOL_SOURCE_SETTINGS').reachable, look('ROCKPOOL_SETTINGS').reachable]).toEqual([true, false])
  expect(lookOf({ facts: { version: '18.1' }, problem: null, began: 0, ended: 0 })).toMatchObject({
    reachable: true,
    version: '18.1',
    problem: null,
  })
})

test('what a session does meanwhile is no problem: it moves on', () => {
  const known = { position: { n: 1 }, session: false }
  expect(isSettled(known, { ...known })).toBe(true)
  expect(isSettled(known, { ...known, session: true })).toBe(false)
  expect(isSettled({ ...known, session: true }, known)).toBe(false)
  expect(isSettled(known, { ...known, position: { n: 2 } })).toBe(false)
})

describe('one at a time', () => {
  test('who asks meanwhile or soon after gets the same answer', async () => {
    let [calls, time] = [0, 0]
    const answers = Promise.withResolvers<void>()
    const ask = oneAtATime(
      async () => {
        const call = ++calls
        await answers.promise
        return call
      },
      2_000,
      () => time,
    )
    const both = Promise.all([ask(), ask()])
    answers.resolve()
    expect(await both).toEqual([1, 1])
    time = 1_999
    expect(await ask()).toBe(1)
    time = 2_000
    expect(await Promise.all([ask(), ask()])).toEqual([2, 2])
  })

  test('one that fails is nobody’s answer later', async () => {
    let fails = true
    const ask = oneAtATime(async () => {
      if (fails) throw new Error('no')
      return 'yes'
    }, 2_000)
    await expect(ask()).rejects.toThrow('no')
    fails = false
    expect(await ask()).toBe('yes')
  })
})
