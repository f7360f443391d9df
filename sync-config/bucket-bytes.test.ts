import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { compileConfig } from './compile.ts'
import { bucketPrefix, contentOf } from './plan/plan.ts'
import { bucketsOfCases, type Buckets } from './test-bucket-bytes.ts'

/**
 * Names of buckets and what is in them, as the version of before NULL of requests was looked at made them: who deploys
 * a newer one copies nothing again.
 */
const before = JSON.parse(readFileSync(new URL('./test-bucket-bytes.json', import.meta.url), 'utf8')) as Record<
  string,
  Buckets
>

const KEYS =
  'arrays are walked without true and false, which are no numbers in a list: the walk stands in the definition'
const ASKED = 'a NULL of the request asked for a bucket of NULL, which no request gets now'

/** What is otherwise, on purpose. */
const CHANGED: Record<string, { parts: (keyof Buckets)[]; reason: string }> = {
  'app-orgs-buckets.json': { parts: ['names'], reason: KEYS },
  'bd-data-in-array.json': { parts: ['names'], reason: KEYS },
  'bd-request-parameters.json': { parts: ['requests'], reason: ASKED },
  'bd-static-jwt.json': { parts: ['requests'], reason: ASKED },
  'bd-table-params-in-request-array.json': {
    parts: ['names', 'rows', 'requests'],
    reason:
      'a null in a list of the request is equal to nothing: rows with NULL are in no lookup, and the definitions of the lookups say so',
  },
  's2-auth-functions.json': { parts: ['requests'], reason: ASKED },
  's2-bad-row-array.json': { parts: ['names'], reason: KEYS },
  's2-subquery-in-array.json': { parts: ['names'], reason: KEYS },
  's2-subscription-parameters.json': { parts: ['requests'], reason: ASKED },
  'types-request-values-streams-edition-2.json': { parts: ['requests'], reason: ASKED },
}

const now = bucketsOfCases()

const NO_ID = 's3-columns.json'

test('of a case whose last stream is refused by now, because it has no id, the others have the buckets of before', () => {
  const { yaml } = JSON.parse(readFileSync(new URL(`./fixtures/cases/${NO_ID}`, import.meta.url), 'utf8')) as {
    yaml: string
  }
  const compiled = compileConfig(yaml.slice(0, yaml.indexOf('  h:\n')))
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.errors))
  expect(contentOf(compiled.plan).definitions.map(bucketPrefix)).toEqual(before[NO_ID]?.names.slice(0, -1))
})

test('all cases are compared', () => {
  expect(Object.keys(before).length).toBeGreaterThan(70)
  expect(Object.keys(now)).toEqual(expect.arrayContaining(Object.keys(before).filter((name) => name !== NO_ID)))
  expect(Object.keys(before)).toEqual(expect.arrayContaining(Object.keys(CHANGED)))
})

test.each(Object.keys(before).filter((name) => name !== NO_ID))(
  '%s has the buckets of before, byte for byte, other than in what is listed',
  (name) => {
    const parts = ['names', 'rows', 'requests'] as const
    const other = parts.filter((part) => JSON.stringify(before[name]?.[part]) !== JSON.stringify(now[name]?.[part]))
    expect(other).toEqual(CHANGED[name]?.parts ?? [])
  },
)
