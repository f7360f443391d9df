import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { RULES } from './rules.ts'
import { inThread } from './threads.ts'

/** Most rules are missed within a hundred. */
const SCHEDULES = 6_000

test('the code of each rule stands where the list says, once', async () => {
  const missing: string[] = []
  for (const { rule, mutations } of RULES)
    for (const { file, edits } of mutations) {
      const source = await readFile(new URL(`../../${file}`, import.meta.url), 'utf8')
      for (const [from] of edits) if (source.split(from).length !== 2) missing.push(`${file}: ${rule}`)
    }
  expect(missing).toEqual([])
})

// The simulation is worth as much as it notices.
test.each(RULES)('without it something goes wrong: $rule', { timeout: 300_000 }, async ({ mutations }) => {
  const { violation, schedules } = await inThread({ first: 1, schedules: SCHEDULES, mutations })
  expect(violation, `nothing went wrong in ${schedules} schedules`).not.toBeNull()
})
