import { expect, test } from 'vitest'
import { compactionSettings } from './compaction.ts'

test('texts, numbers, and what is missing', () => {
  expect(compactionSettings({})).toEqual({ afterBytes: 262_144, seconds: 60, historyMs: 86_400_000 })
  expect(compactionSettings({ COMPACTION_BYTES: '', COMPACTION_SECONDS: 0 })).toMatchObject({
    afterBytes: 262_144,
    seconds: 0,
  })
  expect(compactionSettings({ COMPACTION_BYTES: '1000', COMPACTION_SECONDS: 5, HISTORY_SECONDS: '3600' })).toEqual({
    afterBytes: 1_000,
    seconds: 5,
    historyMs: 3_600_000,
  })
})

test('a setting that is wrong is named', () => {
  for (const wrong of ['x', '-1', '1.5', -1, 1.5, '9999999999999'])
    expect(() => compactionSettings({ COMPACTION_BYTES: wrong })).toThrow(
      'settings are missing or wrong: COMPACTION_BYTES: must be a whole number',
    )
})
