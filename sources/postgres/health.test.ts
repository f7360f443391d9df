import { describe, expect, test } from 'vitest'
import { judgeWal, wantsMarker, type WalVerdict } from './health.ts'
import type { SlotMeasure } from './stream/slot.ts'

const GB = 1024 ** 3
/** `gb` are kept, of which nothing was read. */
const measure = (gb: number, more: Partial<SlotMeasure> = {}): SlotMeasure => ({
  walStatus: 'reserved',
  retainedBytes: gb * GB,
  lagBytes: gb * GB,
  safeWalBytes: null,
  maxKeepBytes: null,
  awaitedStandbys: null,
  ...more,
})
const keep = { walPolicy: 'keep', walKeepGb: 10 } as const
const drop = { walPolicy: 'drop-and-resync', walKeepGb: 10 } as const
const fine = { level: 'ok', overs: 0 } as const

describe('WAL that the slot keeps', () => {
  test('a level is reported when it is reached, not while it lasts, and again after it was left', () => {
    const told: unknown[] = []
    let before: Pick<WalVerdict, 'level' | 'overs'> = fine
    for (const gb of [1, 6, 7, 11, 12, 7, 1, 6]) {
      const verdict = judgeWal(measure(gb), before, keep)
      before = verdict
      told.push([gb, verdict.level, verdict.problem?.code ?? null, verdict.drop])
    }
    expect(told).toEqual([
      [1, 'ok', null, false],
      [6, 'much', 'ROCKPOOL_WAL_KEPT', false],
      [7, 'much', null, false],
      [11, 'over', 'ROCKPOOL_WAL_KEPT', false],
      [12, 'over', null, false],
      [7, 'much', null, false],
      [1, 'ok', null, false],
      [6, 'much', 'ROCKPOOL_WAL_KEPT', false],
    ])
  })

  test('the policy drops the slot only beyond the limit', () => {
    expect(judgeWal(measure(9.9), fine, drop)).toMatchObject({ level: 'much', drop: false })
    expect(judgeWal(measure(10.1), fine, drop)).toMatchObject({ level: 'over', drop: true })
    // There is nothing left to be dropped for its WAL.
    expect(judgeWal(measure(10.1, { walStatus: 'lost' }), fine, drop)).toMatchObject({ level: 'lost', drop: false })
  })

  test('WAL that was read but is still kept gets time, and a marker, to be freed', () => {
    const read = measure(11, { lagBytes: 0 })
    const verdicts: WalVerdict[] = []
    for (let i = 0; i < 3; i++) verdicts.push(judgeWal(read, verdicts.at(-1) ?? fine, drop))
    expect(verdicts.map((verdict) => verdict.drop)).toEqual([false, false, true])
    expect(judgeWal(read, judgeWal(measure(1), verdicts.at(-1) ?? fine, drop), drop).drop).toBe(false)
    expect([wantsMarker(read), wantsMarker(measure(11)), wantsMarker(measure(0.001, { lagBytes: 0 }))]).toEqual([
      true,
      false,
      false,
    ])
  })

  test('nearness to max_slot_wal_keep_size is always reported, with how much is left', () => {
    const near = measure(0.3, { safeWalBytes: 0.05 * GB, maxKeepBytes: 0.3 * GB })
    expect(judgeWal(near, fine, keep).problem?.reason).toBe(
      'the slot keeps 307 MB of WAL (wal_status reserved); max_slot_wal_keep_size is 307 MB, 51 MB before the slot is in danger',
    )
    expect(judgeWal(measure(0.3, { walStatus: 'unreserved' }), fine, keep).level).toBe('much')
    expect(judgeWal(measure(0.3, { walStatus: 'extended' }), fine, keep).level).toBe('ok')
  })
})
