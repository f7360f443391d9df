import { describe, expect, test } from 'vitest'
import { migrate } from '../../shared/database.ts'
import { testDatabase } from '../../test-database.ts'
import { AT_ONCE, Diagnostics, KEPT, MINUTE_MS } from './diagnostics.ts'
import { MIGRATIONS } from './storage.ts'

function start() {
  const db = testDatabase()
  migrate(db, MIGRATIONS)
  let rows = 0
  let now = Date.UTC(2026, 0, 1)
  const counted = {
    ...db,
    run: (sql: string, ...params: (string | number | null)[]) => (rows++, db.run(sql, ...params)),
  }
  return {
    open: () => new Diagnostics(counted, () => now),
    later: (ms: number) => void (now += ms),
    written: () => {
      const count = rows
      rows = 0
      return count
    },
  }
}
const row = (n: number) =>
  ({ code: 'ROCKPOOL_ROW_SKIPPED', table: 'public.t', key: `["${n}"]`, reason: 'bad' }) as const

describe('diagnostics', () => {
  test('survive a restart, newest first, with table, key, reason, times and count', () => {
    const { open, later } = start()
    const before = open()
    before.add(row(1))
    later(1_000)
    before.add({ code: 'ROCKPOOL_RESYNC', reason: 'the slot is gone' })
    later(1_000)
    before.add(row(1))
    before.flush()
    const { counts, recent } = open().status()
    expect(counts).toEqual({ ROCKPOOL_ROW_SKIPPED: 2, ROCKPOOL_RESYNC: 1 })
    expect(recent).toEqual([
      { ...row(1), first: '2026-01-01T00:00:00.000Z', last: '2026-01-01T00:00:02.000Z', count: 2 },
      {
        code: 'ROCKPOOL_RESYNC',
        table: null,
        key: null,
        reason: 'the slot is gone',
        first: '2026-01-01T00:00:01.000Z',
        last: '2026-01-01T00:00:01.000Z',
        count: 1,
      },
    ])
  })

  test('a new problem is written at once, a repeated one at the end of the minute', () => {
    const { open, later, written } = start()
    const diagnostics = open()
    diagnostics.add(row(1))
    expect(written()).toBe(2) // the problem, and the counts
    diagnostics.add(row(2))
    expect(written()).toBe(2)
    for (let i = 0; i < 10_000; i++) diagnostics.add(row(i % 2))
    expect(written()).toBe(2) // row 0 is new
    later(MINUTE_MS)
    diagnostics.tick()
    expect(written()).toBe(3) // rows 0 and 1, and the counts
    diagnostics.tick()
    expect(written()).toBe(0)
    expect(open().status().counts).toEqual({ ROCKPOOL_ROW_SKIPPED: 10_002 })
  })

  test('a stream of bad rows writes a bounded number of rows, and the last ones are shown', () => {
    const { open, later, written } = start()
    const diagnostics = open()
    for (let minute = 0; minute < 3; minute++) {
      for (let i = 0; i < 5_000; i++) diagnostics.add(row(minute * 5_000 + i))
      expect(written()).toBeLessThanOrEqual(2 * AT_ONCE + KEPT + 1)
      later(MINUTE_MS)
    }
    diagnostics.flush()
    for (const each of [diagnostics, open()]) {
      const { counts, recent } = each.status()
      expect(counts).toEqual({ ROCKPOOL_ROW_SKIPPED: 15_000 })
      expect(recent).toHaveLength(KEPT)
      expect(recent[0]?.key).toBe('["14999"]')
    }
  })

  test('problems of replaced sync configs only are marked, also after a restart, and kept apart from the same problems of others', () => {
    const { open } = start()
    const before = open()
    const of = (definition: string) => ({ ...row(1), of: { definition } })
    before.add(of('old'))
    before.add(of('new'))
    before.add({
      code: 'ROCKPOOL_TABLE_REFUSED',
      table: 'public.t',
      reason: 'no',
      of: { names: [{ schema: 'public', name: 't' }] },
    })
    before.add({ code: 'ROCKPOOL_RESYNC', reason: 'the slot is gone' })
    before.flush()
    for (const each of [before, open()]) {
      const { recent } = each.status((whose) => ('definition' in whose ? whose.definition === 'old' : true))
      expect(recent.map(({ code, replaced }) => [code, replaced])).toEqual([
        ['ROCKPOOL_RESYNC', undefined],
        ['ROCKPOOL_TABLE_REFUSED', true],
        ['ROCKPOOL_ROW_SKIPPED', undefined],
        ['ROCKPOOL_ROW_SKIPPED', true],
      ])
      expect(JSON.stringify(recent)).not.toContain('"of"')
    }
  })

  test('very long text is cut', () => {
    const { open } = start()
    const diagnostics = open()
    diagnostics.add({ code: 'ROCKPOOL_ROW_SKIPPED', key: 'k'.repeat(10_000), reason: 'r'.repeat(10_000) })
    expect(JSON.stringify(diagnostics.status()).length).toBeLessThan(2_000)
  })
})
