import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { RULES } from './rules.ts'
import type { Mutation } from '../support/mutations.ts'
import type { Report } from './run.ts'
import { runApart } from './apart.ts'

/** Most rules are missed within a hundred. */
const SCHEDULES = 6_000

/** Schedules that met what is seldom (2026-11-30). They are tried first: after a change of the code another one may. */
const MET: Record<string, number> = {
  'a socket that brought nothing before a sleep is no reason not to ask for another': 3638758,
  'who has come since is not forgotten with those who went': 196,
  'whoever starts publishes what may not have been': 177,
  'what was kept before a slot was lost is not taken': 356,
  'a notice of which a part is missing is a gap': 1000,
  'a relay that slept knows which buckets are fenced': 1040,
  'streams of which only marks are left hear of a fence': 2935,
  'a bucket that is fenced hears of no checkpoint by its appends': 556,
  'clients go on behind a comparison only where a transaction has ended': 538,
  'a relay is greeted in the step in which its socket is registered': 146,
  'a stream is greeted at a checkpoint that was committed when it came': 503,
  'ops of two notices are not put together': 372,
  'a new plan is told to all streams': 229,
  'a probe is above all that was ever sent, by earlier incarnations too': 12835,
  'a bucket that is not in the first checkpoint starts anew': 153,
}

async function run(rule: string, mutations: Mutation[]): Promise<Report> {
  const met = MET[rule]
  const first = met === undefined ? null : await runApart({ first: met, schedules: 1, mutations })
  return first?.violation ? first : runApart({ first: 1, schedules: SCHEDULES, mutations })
}

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
test.each(RULES)('without it something goes wrong: $rule', { timeout: 300_000 }, async ({ rule, mutations }) => {
  const { violation, schedules } = await run(rule, mutations)
  expect(violation, `nothing went wrong in ${schedules} schedules`).not.toBeNull()
})
