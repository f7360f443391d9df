import { expect, test } from 'vitest'
import { RULES, SEEDS } from './test-rules.ts'
import { mutated } from '../../../../test/support/mutations.ts'
import { runApart } from './test-run.ts'

/** `ROCKPOOL_STORE_SCHEDULES=100000 ROCKPOOL_STORE_SEED=7` runs for long, and others. */
const SCHEDULES = Number(process.env.ROCKPOOL_STORE_SCHEDULES ?? 300)
const SEED = Number(process.env.ROCKPOOL_STORE_SEED ?? 1)
/**
 * Every rule is missed at once where its seed is known, and soon otherwise. When schedules have changed, it takes
 * longer.
 */
const ENOUGH = 400
const LONG_MS = 30 * 60_000

test(
  `${SCHEDULES} schedules: tables are what the server has, and local changes on top of it`,
  { timeout: LONG_MS },
  async () => {
    const { violation, counts } = await runApart({ storeSeed: SEED, schedules: SCHEDULES, mutations: [] })
    expect(violation).toBeNull()
    for (const what of ['checkpoint', 'partial', 'mismatch', 'crash', 'accepted', 'rejected', 'schema'])
      expect(counts[what], what).toBeGreaterThan(10)
  },
)

test('the code of each rule stands where the list says, once', () => {
  for (const { mutations } of RULES) expect(mutated(mutations).size).toBe(1)
})

// The simulation is worth as much as it notices.
test.each(RULES)('without it something goes wrong: $rule', { timeout: LONG_MS }, async ({ rule, mutations }) => {
  const { violation, schedules } = await runApart({ storeSeed: SEEDS[rule] ?? 1, schedules: ENOUGH, mutations })
  expect(violation, `nothing went wrong in ${schedules} schedules`).not.toBeNull()
})
