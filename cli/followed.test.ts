import { expect, test } from 'vitest'
import { tellState } from './followed.ts'

const state = (name: 'starting' | 'copying' | 'live' | 'idle' | 'retrying' | 'refused', code?: string) =>
  tellState({ state: name, error: code === undefined ? null : { code, message: 'the\u001b reason' }, refusedTables: [] })

test('the source is followed when it is live, or was read and nobody is there', () => {
  for (const name of ['live', 'idle'] as const) expect(state(name)).toEqual({ followed: true, line: null })
  expect(state('starting')).toEqual({ followed: false, line: null })
  expect(state('copying')).toEqual({ followed: false, line: 'source     copying the tables …' })
})

test('what keeps it from that is told with its code', () => {
  const line = 'not ready  the source is not followed: ROCKPOOL_SOURCE_SETTINGS: the\ufffd reason. It is tried again'
  for (const name of ['starting', 'retrying', 'refused'] as const) {
    expect(state(name, 'ROCKPOOL_SOURCE_SETTINGS')).toEqual({ followed: false, line })
  }
  expect(tellState({ refusal: { name: 'RockpoolError', code: 'PSYNC_S2201', status: 401, description: 'JWT_KEYS: no' } })).toEqual({
    followed: false,
    line: 'not ready  the source is not followed: PSYNC_S2201: JWT_KEYS: no. It is tried again',
  })
})
