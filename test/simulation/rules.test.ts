import { expect, test } from 'vitest'
import { RULES } from './rules.ts'
import { inThread } from './threads.ts'

/** Most rules are missed within a hundred. */
const SCHEDULES = 6_000

// The simulation is worth as much as it notices.
test.each(RULES)('without it something goes wrong: $rule', { timeout: 300_000 }, async ({ mutations }) => {
  const { violation, schedules } = await inThread({ first: 1, schedules: SCHEDULES, mutations })
  expect(violation, `nothing went wrong in ${schedules} schedules`).not.toBeNull()
})
