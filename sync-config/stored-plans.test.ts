import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { loadPlan, parsePlan } from './index.ts'

/** Plans as version 0.1.0 stored them in November 2026: they go on serving until the config is deployed again. */
const text = readFileSync(new URL('./test-stored-plans.json', import.meta.url), 'utf8')
const PLANS = JSON.parse(text) as Record<string, unknown>

const TABLES = {
  t: [
    { id: 'null', owner: null, j: '[null]', n: 0n, k: 'no JSON' },
    { id: 'x', owner: 'x', j: '["x",null]', n: 0n, k: 'no JSON' },
  ],
  m: [
    { id: 'null', team: null, u: null },
    { id: 'x', team: 'x', u: 'x' },
  ],
}

test.each(Object.keys(PLANS))('%s: is read, and a NULL of the request makes no key', (name) => {
  const plan = loadPlan(parsePlan(JSON.stringify(PLANS[name])))
  const stored = Object.entries(TABLES).flatMap(([table, rows]) =>
    rows.flatMap((row) => {
      const { rows: made, errors } = plan.evaluateRow({ schema: 'public', name: table }, row)
      expect(errors).toEqual([])
      return made
    }),
  )
  const synced = (parameters: Record<string, unknown>): string[] => {
    const program = plan.request({ claims: {}, parameters, includeDefaults: true, subscriptions: [] })
    const { buckets } = program.resolve((lookup) =>
      stored.filter((row) => row.bucket === lookup).map((row) => row.data),
    )
    return stored.filter((row) => buckets.some(({ bucket }) => bucket === row.bucket)).map((row) => row.objectId)
  }
  expect([{}, { p: null, l: null }, { l: [null] }].map(synced)).toEqual([[], [], []])
  expect(synced({ p: 'x', l: [null, 'x'] })).toEqual(['x'])
})
