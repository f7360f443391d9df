import { describe, expect, test } from 'vitest'
import type { SettingBindings } from './bindings.ts'
import { replicationSettings, replicationVersion } from './replication.ts'
import { tenantLimits } from './streams.ts'

const settings = (bindings: SettingBindings) =>
  replicationSettings({ DATABASE_URL: 'postgres://a@b/c', ...bindings }, 'x')

describe('settings of a tenant', () => {
  test('defaults; an empty binding is as good as none', () => {
    expect(settings({ SLOT: '', WAL_POLICY: '' })).toEqual({
      syncConfig: 'x',
      slot: 'rockpool',
      catalogWatchSeconds: 3,
      idlePollSeconds: 60,
      idlePollMaxSeconds: 14_400,
      lingerSeconds: 30,
      sessionSeconds: 600,
      sessionChanges: 5_000_000,
      transactionRows: 10_000_000,
      sliceChanges: 8_000,
      batchesInFlight: 4,
      batchWindowMs: 0,
      appendsInFlight: 32,
      activeBuckets: 0,
      callSeconds: 30,
      fenceSeconds: 600,
      walCheckSeconds: 60,
      ownPublication: 'rockpool',
      publicationColumns: 'all',
      walPolicy: 'keep',
      walKeepGb: 10,
      retireGraceSeconds: 86_400,
      unusedDays: 30,
      limits: { disjuncts: 100, streamBuckets: 100, buckets: 1_000, lookupRows: 1_000 },
    })
  })

  test('texts and numbers', () => {
    expect(
      settings({ SESSION_SECONDS: '90', IDLE_POLL_SECONDS: 5, WAL_KEEP_GB: '0.05', WAL_POLICY: 'drop-and-resync' }),
    ).toMatchObject({
      sessionSeconds: 90,
      idlePollSeconds: 5,
      walKeepGb: 0.05,
      walPolicy: 'drop-and-resync',
    })
  })

  test('limits of streams, which the sync Worker reads without the rest', () => {
    const bindings = { MAX_BUCKETS: '5000', MAX_DISJUNCTS: 20 }
    const limits = { disjuncts: 20, streamBuckets: 100, buckets: 5_000, lookupRows: 1_000 }
    expect(settings(bindings).limits).toEqual(limits)
    expect(tenantLimits(bindings)).toEqual(limits)
    const refused = expect.objectContaining({ code: 'ROCKPOOL_SETTINGS' })
    expect(() => tenantLimits({ MAX_DISJUNCTS: 'many' })).toThrow(refused)
  })

  test('the version changes with each of them, the database included, and not with others', () => {
    const version = (bindings: SettingBindings) => replicationVersion({ DATABASE_URL: 'postgres://a@b/c', ...bindings })
    expect(version({ SLOT: 'other' })).not.toBe(version({}))
    expect(version({ DATABASE_URL: 'postgres://a:x@b/c' })).not.toBe(version({}))
    expect(version({ SLOT: 7 })).not.toBe(version({}))
    expect(version({ JWT_AUDIENCE: 'app' })).toBe(version({}))
  })

  test.each([
    [{ SESSION_SECONDS: '781' }, /SESSION_SECONDS: must be a number from 1 to 780/],
    [{ SESSION_SECONDS: 'ten' }, /SESSION_SECONDS/],
    [{ SESSION_CHANGES: '0' }, /SESSION_CHANGES/],
    [{ SESSION_CHANGES: '1.5' }, /SESSION_CHANGES: must be a whole number/],
    [
      { IDLE_POLL_SECONDS: '100', IDLE_POLL_MAX_SECONDS: '50' },
      /IDLE_POLL_MAX_SECONDS: must not be less than IDLE_POLL_SECONDS/,
    ],
    [{ LINGER_SECONDS: '-1' }, /LINGER_SECONDS/],
    [{ WAL_POLICY: 'drop' }, /WAL_POLICY/],
    [{ WAL_KEEP_GB: '0' }, /WAL_KEEP_GB/],
    [{ MAX_BUCKETS: '0' }, /MAX_BUCKETS: must be a whole number from 1 to 10000/],
    [{ DATABASE_URL: 'mysql://x', MAX_LOOKUP_ROWS: 'many' }, /DATABASE_URL: .*; MAX_LOOKUP_ROWS: must be/],
    [
      { DATABASE_URL: 'mysql://x', SLOT: 'No' },
      /DATABASE_URL: must be a URL that begins with postgres:\/\/[^;]*; SLOT: must be up to 63 lower-case/,
    ],
  ])('%j is refused by name', (bindings, message) => {
    expect(() => settings(bindings)).toThrow(message)
    expect(() => settings(bindings)).toThrow(expect.objectContaining({ code: 'ROCKPOOL_SETTINGS' }))
  })
})
