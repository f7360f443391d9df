import { describe, expect, test } from 'vitest'
import type { SourceFacts } from '../../../sources/postgres/index.ts'
import { RockpoolError } from '../../../protocol/errors.ts'
import { lookOf, oneAtATime, problemOf, type Known } from './source-look.ts'

const measure = { walStatus: 'reserved', retainedBytes: 1, lagBytes: 0, safeWalBytes: null, maxKeepBytes: null, awaitedStandbys: null }
const facts = (change: Partial<SourceFacts> = {}): SourceFacts => ({
  ...{ identity: { systemIdentifier: '1', timeline: 1, database: 'app' }, serverVersion: 180_001, walEnd: 100n },
  slot: { created: false, lost: null, confirmedFlush: 10n, failover: null, measure },
  ...change,
})
const known = (change: Partial<Known> = {}): Known => ({
  ...{ source: { systemIdentifier: '1', database: 'app' }, position: { lsn: '0/20', xid: 1, time: '' }, session: false },
  ...change,
})
const slot = (change: object) => ({ slot: { created: false, lost: null, confirmedFlush: 10n, failover: null, measure, ...change } })

describe('what a look finds', () => {
  const judged = (found: SourceFacts, before = known(), after = before) => problemOf('rockpool', found, before, after)

  test('nothing, when everything is as it was left', () => {
    expect(judged(facts())).toBeNull()
    expect(judged(facts({ slot: null }), known({ source: null, position: null }))).toBeNull()
  })

  test('a slot that is gone, or that Postgres has invalidated', () => {
    expect(judged(facts({ slot: null }))).toEqual({ code: 'ROCKPOOL_SLOT_LOST', message: 'the slot rockpool: the slot was missing' })
    const lost = facts(slot({ lost: 'Postgres invalidated the slot (wal_removed)' }))
    expect(judged(lost)).toMatchObject({ code: 'ROCKPOOL_SLOT_LOST', message: expect.stringContaining('wal_removed') })
    const invalid = facts(slot({ lost: 'Postgres invalidated the slot', measure: { ...measure, walStatus: 'lost' } }))
    expect(judged(invalid, known({ session: true }))).toMatchObject({ code: 'ROCKPOOL_SLOT_LOST' })
  })

  test.each([
    ['another server', { identity: { systemIdentifier: '2', timeline: 1, database: 'app' } }, /another database server/],
    ['an older state', { walEnd: 5n }, /older state/],
    ['a slot that somebody else has read', slot({ confirmedFlush: 99n }), /somebody else has read/],
  ])('%s', (_, change, message) => {
    expect(judged(facts(change))).toMatchObject({ code: 'ROCKPOOL_SOURCE_CHANGED', message: expect.stringMatching(message) })
  })

  test('what a session does meanwhile is no problem: it makes the slot, and moves on', () => {
    const during = known({ session: true })
    const further = known({ position: { lsn: '0/90', xid: 2, time: '' } })
    expect(judged(facts({ slot: null }), known(), during)).toBeNull()
    expect(judged(facts({ slot: null }), during, known())).toBeNull()
    expect(judged(facts(slot({ lost: 'the slot was never complete' })), during)).toBeNull()
    expect(judged(facts({ walEnd: 0x30n }), known(), further)).toBeNull()
  })
})

test('a database that does not answer, and one that answers and refuses', () => {
  const look = (code: 'ROCKPOOL_SOURCE_UNREACHABLE' | 'ROCKPOOL_SOURCE_SETTINGS' | 'ROCKPOOL_SETTINGS') =>
    lookOf({ facts: new RockpoolError(code, 'why'), problem: null, began: 1_000, ended: 3_000 })
  expect(look('ROCKPOOL_SOURCE_UNREACHABLE')).toEqual({
    ...{ at: '1970-01-01T00:00:03.000Z', ms: 2_000, reachable: false, version: null },
    problem: { code: 'ROCKPOOL_SOURCE_UNREACHABLE', message: 'why' },
  })
  expect([look('ROCKPOOL_SOURCE_SETTINGS').reachable, look('ROCKPOOL_SETTINGS').reachable]).toEqual([true, false])
  expect(lookOf({ facts: facts(), problem: null, began: 0, ended: 0 })).toMatchObject({ reachable: true, version: '18.1', problem: null })
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
