import { expect, test } from 'vitest'
import { EXCEPTIONS } from './test-null-exceptions.ts'
import { compare } from './test-null-property.ts'
import { RULES } from './test-null-rules.ts'
import { mutated } from '../test/support/mutations.ts'
import { runApart } from './test-null-run.ts'

/**
 * A client has a row only when SQL, with its three values, says that the condition is true for the row and the request:
 * SQLite judges. Where no value is malformed, it has every such row. ROCKPOOL_NULL_CASES and ROCKPOOL_NULL_SEED ask for
 * more cases and for others.
 */

const CASES = Number(process.env['ROCKPOOL_NULL_CASES'] ?? 3_000)
const SEED = Number(process.env['ROCKPOOL_NULL_SEED'] ?? 20_261_129)
/** Within so many a rule is missed, or the test does not see it. */
const ENOUGH = 10_000

const exceptions = EXCEPTIONS.map(({ name }) => name)

test(
  `${CASES} random conditions and requests give the rows for which SQLite says true, and no others`,
  { timeout: 30 * 60_000 },
  () => {
    const { violation, refused, given, cases } = compare({ seed: SEED, cases: CASES, exceptions })
    expect(violation).toBeNull()
    expect(refused).toEqual({})
    expect(cases).toBeGreaterThanOrEqual(CASES)
    expect(given).toBeGreaterThan(cases)
  },
)

test.each(EXCEPTIONS)('is an exception, because SQL says otherwise: $name', { timeout: 300_000 }, ({ name }) => {
  const { violation } = compare({ seed: SEED, cases: ENOUGH, exceptions: exceptions.filter((other) => other !== name) })
  expect(violation).not.toBeNull()
})

test('the code of each rule stands where the list says, once', () => {
  for (const { mutations, besides = [] } of RULES) expect(mutated([...besides, ...mutations]).size).toBeGreaterThan(0)
})

test.each(RULES)(
  'without it a client has what it must not have, or lacks something: $rule',
  { timeout: 300_000 },
  async ({ mutations, besides = [] }) => {
    const task = { seed: SEED, cases: ENOUGH, exceptions }
    const { violation, cases } = await runApart({ ...task, mutations: [...besides, ...mutations] })
    expect(violation, `nothing went wrong in ${cases} cases`).not.toBeNull()
    if (besides.length > 0) expect((await runApart({ ...task, cases, mutations: besides })).violation).toBeNull()
  },
)
