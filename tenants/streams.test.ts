import { expect, test } from 'vitest'
import { streamSettings } from './streams.ts'

test('settings, with their presets', () => {
  expect(streamSettings({})).toEqual({
    calls: 2_000_000,
    bytes: 4 * 1024 ** 3,
    relays: 1,
    subscriptions: 1_000,
    perUser: 20,
    compression: false,
  })
  expect(streamSettings({ STREAM_MAX_CALLS: '5', RELAYS: 8 })).toMatchObject({
    calls: 5,
    bytes: 4 * 1024 ** 3,
    relays: 8,
  })
  expect(streamSettings({ STREAM_COMPRESSION: 'on' }).compression).toBe(true)
  expect(streamSettings({ MAX_SUBSCRIPTIONS: '10000' }).subscriptions).toBe(10_000)
  expect(() => streamSettings({ MAX_SUBSCRIPTIONS: '10001' })).toThrow(
    /MAX_SUBSCRIPTIONS: must be a whole number from 1 to 10000/,
  )
  for (const wrong of ['0', '-1', '1.5', 'many', '1e9']) {
    expect(() => streamSettings({ STREAM_MAX_BYTES: wrong })).toThrow(
      expect.objectContaining({ code: 'ROCKPOOL_SETTINGS' }),
    )
  }
  for (const wrong of ['0', '101', 'one']) {
    expect(() => streamSettings({ RELAYS: wrong })).toThrow(/RELAYS: must be/)
  }
  expect(() => streamSettings({ MAX_STREAMS_PER_USER: 'x' })).toThrow(
    /MAX_STREAMS_PER_USER: must be a whole number from 1 to 10000/,
  )
  // Found later it would be a fault like any other, and tried again without end.
  expect(() => streamSettings({ MAX_BUCKETS: 'many' })).toThrow(/MAX_BUCKETS: must be/)
})
