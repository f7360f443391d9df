import { expect, test } from 'vitest'
import { compileConfig } from './compile.ts'
import { loadPlan } from './index.ts'
import { COLUMNS, RandomStream, wantedRows, type Row } from './test-random-streams.ts'
import { generator } from '../test/support/random.ts'

const ROUNDS = Number(process.env.ROCKPOOL_ROUNDS ?? 1_500)

test(
  `${ROUNDS} random streams of joins, CTEs, arrays and subqueries give each client the rows for which their condition holds`,
  { timeout: 120_000 },
  () => {
    const count = { refused: 0, some: 0 }
    for (let seed = 1; seed <= ROUNDS; seed++) {
      const stream = new RandomStream(generator(seed * 7_919))
      const result = compileConfig(stream.yaml)
      if (!result.ok) {
        // An array of the request between two tables.
        expect(
          result.errors.map(({ code }) => code),
          `seed ${seed}: ${stream.yaml}`,
        ).toContain('each-two-tables')
        count.refused++
        continue
      }
      const plan = loadPlan(result.plan)
      const tables = Object.fromEntries(
        Object.keys(COLUMNS).map((table): [string, Row[]] => [table, [0, 1, 2, 3].map((n) => stream.row(table, n))]),
      )
      const stored = Object.entries(tables).flatMap(([name, rows]) =>
        rows.flatMap((row) => {
          const evaluated = plan.evaluateRow({ schema: 'public', name }, row)
          expect(evaluated.errors, `seed ${seed}`).toEqual([])
          return evaluated.rows
        }),
      )
      for (let n = 0; n < 4; n++) {
        const { plain, values } = stream.request()
        const { buckets, streams } = plan
          .request({
            claims: { sub: plain['sub'], t: plain['t'], arr: plain['arr'] },
            parameters: { c: plain['c'] },
            includeDefaults: false,
            subscriptions: [{ stream: 's', parameters: { s: plain['s'] }, priority: null }],
          })
          .resolve((lookup) => stored.filter((row) => row.bucket === lookup).map((row) => row.data))
        const synced = new Set(
          buckets.flatMap(({ bucket }) => stored.filter((row) => row.bucket === bucket).map((row) => row.objectId)),
        )
        const wanted = wantedRows(stream, tables, values)
        if (wanted.length > 0) count.some++
        expect(streams.flatMap(({ errors }) => errors)).toEqual([])
        expect([...synced].sort(), `seed ${seed}: ${stream.yaml}${JSON.stringify(plain)}`).toEqual(wanted.sort())
      }
    }
    expect(count.refused).toBeLessThan(ROUNDS / 50)
    expect(count.some).toBeGreaterThan(ROUNDS / 2)
  },
)
