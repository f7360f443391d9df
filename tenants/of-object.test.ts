import { describe, expect, test, vi } from 'vitest'
import type { DirectoryRpc } from '../protocol/messages/directory.ts'
import { tenantOfObject } from './of-object.ts'

const usage = { day: '2026-11-30', rows: 1_000_000, requests: 0, awakeMs: 0 }
const MIDNIGHT = Date.UTC(2026, 11, 1)

describe('what a tenant may use of the budget of the deployment', () => {
  test.each([
    [{}, null],
    [{ BUDGET_DOLLARS_DAY: '1.5' }, null],
    [{ BUDGET_DOLLARS_DAY: '1' }, MIDNIGHT],
  ])('alone, with %j: until the end of the day it is paused, or it is not', async (settings, pausedUntil) => {
    expect(await tenantOfObject(settings, 'default').heard(0, usage)).toEqual({ pausedUntil })
  })

  test('is not known when the budget is not a number: it stays as it was', async () => {
    vi.spyOn(console, 'warn').mockImplementation(() => {})
    expect(await tenantOfObject({ BUDGET_DOLLARS_DAY: 'much' }, 'default').heard(0, usage)).toBe(null)
  })

  test.each<[string, DirectoryRpc['heard'], unknown]>([
    ['says', async () => ({ pausedUntil: 7 }), { pausedUntil: 7 }],
    ['of an earlier version says nothing', async () => undefined as never, null],
    ['does not answer', () => Promise.reject(new Error('gone')), null],
  ])('is what the Directory says; one that %s', async (_, heard, answer) => {
    vi.spyOn(console, 'warn').mockImplementation(() => {})
    const env = { TENANT_KEYS: 'k1:x', DIRECTORY: { getByName: () => ({ heard }) as DirectoryRpc } }
    expect(await tenantOfObject(env, 'acme').heard(0, usage)).toEqual(answer)
  })
})
