import { expect, test } from 'vitest'
import { budgetOf, levelOf, NO_BUDGET, partOfRelay, relaysFor } from './budget.ts'
import { changed, newRecord, tenantChange } from './stored/record.ts'

const record = () => ({
  ...newRecord('acme', { location: null, jurisdiction: null }, new Date()),
  secrets: ['DATABASE_URL' as const],
})
const after = (before: ReturnType<typeof record>, limits: unknown) =>
  changed(before, tenantChange.parse({ limits }), new Date())

test('a change says limits one by one; null takes one away, and what is not named stays', () => {
  const first = after(record(), { streams: { warn: 80, refuse: 100 }, rowsPerDay: { refuse: 5 } })
  expect(first.limits).toEqual({ streams: { warn: 80, refuse: 100 }, rowsPerDay: { warn: null, refuse: 5 } })
  const second = changed(first, tenantChange.parse({ limits: { streams: null } }), new Date())
  expect(second.limits).toEqual({ rowsPerDay: { warn: null, refuse: 5 } })
  expect(changed(second, tenantChange.parse({}), new Date()).limits).toEqual(second.limits)
  expect(after(record(), undefined)).not.toHaveProperty('limits')
  // No session begins anew for it.
  expect(second.sourceVersion).toBe(first.sourceVersion)
})

test.each([
  { streams: { warn: 2, refuse: 1 } },
  { streams: { refuse: 0 } },
  { streams: { refuse: -1 } },
  { streams: { refuse: 1.5 } },
  { streams: { refuse: '10' } },
  { streams: 10 },
  { rows: { refuse: 1 } },
  { streams: { most: 1 } },
])('%j is refused', (limits) => {
  expect(tenantChange.safeParse({ limits }).success).toBe(false)
})

test('levels; nothing is limited of which nothing is said', () => {
  const threshold = { warn: 80, refuse: 100 }
  expect([0, 79, 80, 99, 100, 1_000].map((used) => levelOf(used, threshold))).toEqual([
    'within',
    'within',
    'warn',
    'warn',
    'refuse',
    'refuse',
  ])
  expect(levelOf(1e12, NO_BUDGET.streams)).toBe('within')
  expect(budgetOf({ streams: threshold })).toEqual({ ...NO_BUDGET, streams: threshold })
})

test('a limit that one relay can keep is kept by one, exactly; a larger one is divided', () => {
  const budget = (refuse: number) => budgetOf({ streams: { warn: null, refuse } })
  expect([1, 500, 2_000, 2_001, 9_000, 1e6].map((refuse) => relaysFor(8, budget(refuse)))).toEqual([1, 1, 1, 2, 5, 8])
  expect([relaysFor(8, NO_BUDGET), relaysFor(1, budget(1e6))]).toEqual([8, 1])
  for (const refuse of [1, 500, 2_000, 2_001, 9_000, 1e6]) {
    const relays = relaysFor(8, budget(refuse))
    const part = partOfRelay(relays, budget(refuse)).refuse ?? 0
    expect(relays * part).toBeGreaterThanOrEqual(refuse)
    expect(relays * part - refuse).toBeLessThan(relays)
  }
})
