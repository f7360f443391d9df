import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { compile, loadPlan } from './index.ts'
import { generator } from '../test/support/random.ts'

const ROUNDS = Number(process.env.ROCKPOOL_ROUNDS ?? 1_500)

type Value = string | null
const TABLES: Record<string, string[]> = { a: ['id', 'x', 'y'], b: ['id', 'u', 'v'], c: ['id', 'p', 'q'] }
const VALUES: Value[] = ['1', '2', '3', null]

class Random {
  readonly #next: () => number

  constructor(seed: number) {
    this.#next = generator(seed)
  }

  chance(p: number): boolean {
    return this.#next() < p
  }

  pick<T>(list: readonly T[]): T {
    const item = list[Math.floor(this.#next() * list.length)]
    if (item === undefined) throw new Error('nothing to pick')
    return item
  }
}

/** A request value: what the stream calls it, and what the model puts there. */
const REQUEST = ['auth.user_id()', "auth.parameter('t')", "connection.parameter('c')", "subscription.parameter('s')"]
const request = (r: Random): string => r.pick(REQUEST)

function condition(r: Random, table: string, depth: number): string {
  const columns = (TABLES[table] ?? []).slice(1)
  const column = `${table}.${r.pick(columns)}`
  const dice = r.pick([0, 0, 1, 2, 3, 4, 5, 6, 7])
  if (dice === 0) return `${column} = ${request(r)}`
  if (dice === 1) return `${column} = '${r.pick(['1', '2', '3'])}'`
  if (dice === 2) return `${column} IS ${r.chance(0.5) ? 'NOT ' : ''}NULL`
  if (dice === 3) return `${column} IN ('1', '${r.pick(['2', '3'])}')`
  if (dice === 4 && depth > 0) return `(${condition(r, table, depth - 1)} AND ${condition(r, table, depth - 1)})`
  if (dice === 5 && depth > 0) return `(${condition(r, table, depth - 1)} OR ${condition(r, table, depth - 1)})`
  if (dice === 6) return `NOT ${column} = '${r.pick(['1', '2'])}'`
  if (depth > 0) {
    const other = r.pick(Object.keys(TABLES).filter((name) => name !== table))
    const output = r.pick((TABLES[other] ?? []).slice(1))
    return `${column} IN (SELECT ${other}.${output} FROM ${other} WHERE ${condition(r, other, depth - 1)})`
  }
  return `${column} = ${request(r)}`
}

function query(r: Random): string {
  if (r.chance(0.25)) {
    return `SELECT a.* FROM a INNER JOIN b ON a.${r.pick(['x', 'y'])} = b.${r.pick(['u', 'v'])} WHERE ${condition(r, 'b', 1)}${r.chance(0.5) ? ` AND ${condition(r, 'a', 1)}` : ''}`
  }
  return `SELECT * FROM a WHERE ${condition(r, 'a', 2)}`
}

test(`${ROUNDS} random compiled streams give each client the rows that plain SQL would`, () => {
  let compiled = 0
  let nonEmpty = 0
  for (let seed = 1; seed <= ROUNDS; seed++) {
    const r = new Random(seed)
    const sql = query(r)
    const result = compile(
      `config:\n  edition: 3\nstreams:\n  s:\n    auto_subscribe: true\n    accept_potentially_dangerous_queries: true\n    query: ${JSON.stringify(sql)}\n`,
    )
    if (!result.ok) continue
    compiled++
    const plan = loadPlan(result.plan)
    const db = new DatabaseSync(':memory:')
    const stored: { bucket: string; data: string; objectId: string }[] = []
    for (const [table, columns] of Object.entries(TABLES)) {
      db.exec(`CREATE TABLE ${table} (${columns.map((column) => `${column} TEXT`).join(', ')})`)
      for (let n = 0; n < 6; n++) {
        const row = Object.fromEntries(
          columns.map((column, i): [string, Value] => [column, i === 0 ? `${table}${n}` : r.pick(VALUES)]),
        )
        db.prepare(`INSERT INTO ${table} VALUES (${columns.map(() => '?').join(', ')})`).run(...Object.values(row))
        const evaluated = plan.evaluateRow({ schema: 'public', name: table }, row)
        expect(evaluated.errors).toEqual([])
        stored.push(...evaluated.rows)
      }
    }
    for (let n = 0; n < 4; n++) {
      const values = REQUEST.map(() => r.pick(['1', '2', '3', '9']))
      const { buckets } = plan
        .request({
          claims: { sub: values[0], t: values[1] },
          parameters: { c: values[2] },
          includeDefaults: false,
          subscriptions: [{ stream: 's', parameters: { s: values[3] }, priority: null }],
        })
        .resolve((lookup) => stored.filter((row) => row.bucket === lookup).map((row) => row.data))
      const synced = new Set(
        buckets.flatMap(({ bucket }) => stored.filter((row) => row.bucket === bucket).map((row) => row.objectId)),
      )
      // The language has two-valued logic: NOT of a comparison with NULL is true.
      const twoValued = sql
        .replace(/NOT (\S+ = '\d')/g, 'NOT coalesce($1, 0)')
        .replace(/^SELECT (a\.)?\*/, 'SELECT DISTINCT a.id')
      const model = REQUEST.reduce((text, name, i) => text.replaceAll(name, `'${values[i]}'`), twoValued)
      const wanted = db
        .prepare(model)
        .all()
        .map((row) => String(row.id))
      if (wanted.length > 0) nonEmpty++
      expect([...synced].sort(), `seed ${seed}: ${sql}\n${values.join()}`).toEqual(wanted.sort())
    }
    db.close()
  }
  expect(compiled).toBeGreaterThan(ROUNDS / 2)
  expect(nonEmpty).toBeGreaterThan(compiled)
})
