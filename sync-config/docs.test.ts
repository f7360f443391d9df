import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { compile, loadPlan } from './index.ts'

interface Example {
  rows: { table: string; record: Record<string, string> }[]
  requests: {
    jwt: Record<string, unknown>
    subscriptions?: { stream: string; parameters: Record<string, unknown> }[]
    synced: string[]
    priorities?: number[]
  }[]
}

const text = readFileSync(new URL('../docs/sync-config.md', import.meta.url), 'utf8')
const examples = [...text.matchAll(/## ([^\n]+)\n(?:(?!\n## )[^])*?```yaml\n([^]*?)```\s*```json\n([^]*?)```/g)].map(
  ([, title = '', yaml = '', json = '']) => [title, yaml, JSON.parse(json) as Example] as const,
)

describe('the examples of docs/sync-config.md', () => {
  test('are all here', () => expect(examples.map(([title]) => title)).toHaveLength(text.split('```yaml').length - 1))

  test.each(examples)('%s', (_, yaml, { rows, requests }) => {
    const result = compile(yaml)
    if (!result.ok) throw new Error(JSON.stringify(result.errors))
    expect(result.warnings).toEqual([])
    const plan = loadPlan(result.plan)
    const stored = rows.flatMap(({ table, record }) => plan.evaluateRow({ schema: 'public', name: table }, record).rows)
    for (const { jwt, subscriptions = [], synced, priorities } of requests) {
      const program = plan.request({
        claims: jwt,
        parameters: {},
        includeDefaults: true,
        subscriptions: subscriptions.map((each) => ({ ...each, priority: null })),
      })
      const { buckets } = program.resolve((lookup) =>
        stored.filter((row) => row.bucket === lookup).map((row) => row.data),
      )
      const ids = new Set(
        buckets.flatMap(({ bucket }) => stored.filter((row) => row.bucket === bucket).map((row) => row.objectId)),
      )
      expect([...ids].sort()).toEqual(synced)
      if (priorities) expect(buckets.map((bucket) => bucket.priority).sort()).toEqual(priorities)
    }
  })
})
