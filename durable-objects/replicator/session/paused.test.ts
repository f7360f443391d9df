import { describe, expect, test } from 'vitest'
import type { SourceHealth } from '../../../sources/source.ts'
import { measurePaused, PAUSED_KEEP_MS } from './paused.ts'

const NOW = 1_000_000_000_000
const call = () => ({ signal: new AbortController().signal, deadlineMs: 1_000 })

/** Measures once. `level`: null when the source keeps nothing. */
async function measured(level: SourceHealth['level'] | null, { since = NOW, fails = false } = {}) {
  const told: unknown[] = []
  let forgotten = false
  const found =
    level === null ? null : ({ level, nudge: false, drop: null, problems: [], state: {} } as unknown as SourceHealth)
  const source = {
    health: async () => found,
    forget: async () => {
      if (fails) throw new Error('the database does not answer')
      forgotten = true
    },
  }
  const health = { measure: async () => found }
  const store = { diagnostics: { add: (problem: unknown) => void told.push(problem) } } as never
  const kept = await measurePaused(source, call, { health, store, since, now: NOW }).catch(String)
  return { kept, forgotten, told }
}

describe('what the source keeps for a suspended tenant', () => {
  test.each(['ok', 'much'] as const)('stays while it is %s', async (level) => {
    expect(await measured(level, { since: NOW - PAUSED_KEEP_MS + 1 })).toEqual({
      kept: true,
      forgotten: false,
      told: [],
    })
  })

  test.each(['over', 'lost'] as const)(
    'goes when it is %s, whatever the policy says, and that is told',
    async (level) => {
      const { kept, forgotten, told } = await measured(level)
      expect([kept, forgotten, told]).toEqual([
        false,
        true,
        [{ code: 'ROCKPOOL_WAL_DROPPED', reason: expect.stringMatching(/more than WAL_KEEP_GB/) }],
      ])
    },
  )

  test('goes after 24 hours, however little it is', async () => {
    const { kept, forgotten, told } = await measured('ok', { since: NOW - PAUSED_KEEP_MS })
    expect([kept, forgotten, told]).toEqual([
      false,
      true,
      [{ code: 'ROCKPOOL_WAL_DROPPED', reason: expect.stringMatching(/for 24 hours/) }],
    ])
  })

  test('is measured no more when there is nothing', async () => {
    expect(await measured(null)).toEqual({ kept: false, forgotten: false, told: [] })
  })

  test('that could not be dropped is no success', async () => {
    expect(await measured('over', { fails: true })).toEqual({
      kept: 'Error: the database does not answer',
      forgotten: false,
      told: [],
    })
  })
})
