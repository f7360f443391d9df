import { describe, expect, test } from 'vitest'
import { problemOf, type SourceFacts } from './look.ts'

const measure = {
  walStatus: 'reserved',
  retainedBytes: 1,
  lagBytes: 0,
  safeWalBytes: null,
  maxKeepBytes: null,
  awaitedStandbys: null,
}
const facts = (change: Partial<SourceFacts> = {}): SourceFacts => ({
  identity: { systemIdentifier: '1', timeline: 1, database: 'app' },
  serverVersion: 180_001,
  walEnd: 100n,
  slot: { created: false, lost: null, confirmedFlush: 10n, failover: null, measure },
  ...change,
})
type Known = Parameters<typeof problemOf>[2]
const known = (change: Partial<Known> = {}): Known => ({
  identity: { systemIdentifier: '1', database: 'app' },
  position: { lsn: '0/20', xid: 1, time: '' },
  settled: true,
  ...change,
})
const slot = (change: object) => ({
  slot: { created: false, lost: null, confirmedFlush: 10n, failover: null, measure, ...change },
})

describe('what a look finds', () => {
  const judged = (found: SourceFacts, before = known()) => problemOf('rockpool', found, before)

  test('nothing when everything is as the last session left it', () => {
    expect(judged(facts())).toBeNull()
    expect(judged(facts({ slot: null }), known({ identity: null, position: null }))).toBeNull()
  })

  test('a slot that is gone, or that Postgres has invalidated', () => {
    expect(judged(facts({ slot: null }))).toEqual({
      code: 'ROCKPOOL_SLOT_LOST',
      reason: 'the slot rockpool: the slot was missing',
    })
    const lost = facts(slot({ lost: 'Postgres invalidated the slot (wal_removed)' }))
    expect(judged(lost)).toMatchObject({ code: 'ROCKPOOL_SLOT_LOST', reason: expect.stringContaining('wal_removed') })
    const invalid = facts(slot({ lost: 'Postgres invalidated the slot', measure: { ...measure, walStatus: 'lost' } }))
    expect(judged(invalid, known({ settled: false }))).toMatchObject({ code: 'ROCKPOOL_SLOT_LOST' })
  })

  test.each([
    [
      'another server',
      { identity: { systemIdentifier: '2', timeline: 1, database: 'app' } },
      /another database server/,
    ],
    ['an older state', { walEnd: 5n }, /older state/],
    ['a slot that somebody else has read', slot({ confirmedFlush: 99n }), /somebody else has read/],
  ])('%s', (_, change, reason) => {
    expect(judged(facts(change))).toMatchObject({
      code: 'ROCKPOOL_SOURCE_CHANGED',
      reason: expect.stringMatching(reason),
    })
  })

  test('what a running session does is not a problem: it creates the slot, and advances', () => {
    const during = known({ settled: false })
    expect(judged(facts({ slot: null }), during)).toBeNull()
    expect(judged(facts(slot({ lost: 'the slot was never complete' })), during)).toBeNull()
    expect(judged(facts({ walEnd: 0x30n }), during)).toBeNull()
  })
})
