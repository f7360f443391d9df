import { describe, expect, test } from 'vitest'
import type { SlotMeasure } from '../../postgres/index.ts'
import { judgeWal, type WalLevel } from './wal-guard.ts'

const GB = 1024 ** 3
const measure = (gb: number, more: Partial<SlotMeasure> = {}): SlotMeasure => ({
  ...{ walStatus: 'reserved', retainedBytes: gb * GB, lagBytes: 0, safeWalBytes: null, maxKeepBytes: null },
  ...more,
})
const keep = { walPolicy: 'keep', walKeepGb: 10 } as const
const drop = { walPolicy: 'drop-and-resync', walKeepGb: 10 } as const

describe('WAL that the slot keeps', () => {
  test('a level is told when it is reached, not while it lasts, and again after it was left', () => {
    const told: unknown[] = []
    let level: WalLevel = 'ok'
    for (const gb of [1, 6, 7, 11, 12, 7, 1, 6]) {
      const verdict = judgeWal(measure(gb), level, keep)
      level = verdict.level
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

  test('the policy drops it only beyond the limit', () => {
    expect(judgeWal(measure(9.9), 'ok', drop)).toMatchObject({ level: 'much', drop: false })
    expect(judgeWal(measure(10.1), 'ok', drop)).toMatchObject({ level: 'over', drop: true, problem: { code: 'ROCKPOOL_WAL_DROPPED' } })
    // There is nothing left to be dropped for its WAL.
    expect(judgeWal(measure(10.1, { walStatus: 'lost' }), 'ok', drop)).toMatchObject({ level: 'lost', drop: false })
  })

  test('nearness to max_slot_wal_keep_size is told whatever is kept, with how much is left', () => {
    const near = measure(0.3, { safeWalBytes: 0.05 * GB, maxKeepBytes: 0.3 * GB })
    expect(judgeWal(near, 'ok', keep).problem?.reason).toBe(
      'the slot keeps 307 MB of WAL (wal_status reserved); max_slot_wal_keep_size is 307 MB, 51 MB before the slot is in danger',
    )
    expect(judgeWal(measure(0.3, { walStatus: 'unreserved' }), 'ok', keep).level).toBe('much')
    expect(judgeWal(measure(0.3, { walStatus: 'extended' }), 'ok', keep).level).toBe('ok')
  })
})
