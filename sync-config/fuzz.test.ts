import { readdirSync, readFileSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { compileConfig, type DetailedResult } from './compile.ts'
import { loadPlan } from './index.ts'
import { allowed, type WorkKind } from './parse/work.ts'
import { generator } from '../test/support/random.ts'

setFlagsFromString('--expose_gc')
const collect: () => void = runInNewContext('gc')
const MB = 1024 ** 2

/** ROCKPOOL_FUZZ=100000 takes some minutes. */
const INPUTS = Number(process.env.ROCKPOOL_FUZZ ?? 3_000)
const folder = new URL('./fixtures/cases/', import.meta.url)
const texts = readdirSync(folder).map(
  (file): string => (JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as { yaml: string }).yaml,
)
const PIECES = [
  '(',
  ')',
  'SELECT ',
  ' FROM ',
  ' WHERE ',
  "'",
  '"',
  ' AND ',
  ' OR ',
  ' IN ',
  '[',
  ']',
  '{',
  '}',
  ':',
  '- ',
  '|',
  '>',
  '\n',
  '  ',
  '#',
  '%',
  '*',
  '.',
  '::text',
  'null',
  'json_each(',
  'bucket.',
  'auth.user_id()',
  '💥',
  '\u0000',
  '((((((((((',
]

/** Characters of plan for a character of the file, at most. */
const PLAN_PER_CHARACTER = 200
const KINDS: WorkKind[] = ['yaml', 'sql', 'plan']
/** The most of the allowed work that any file took, in parts of it. */
const most: Record<WorkKind, number> = { yaml: 0, sql: 0, plan: 0 }

function heap(): number {
  collect()
  return process.memoryUsage().heapUsed
}

function mutate(text: string, random: () => number): string {
  const at = Math.floor(random() * text.length)
  const dice = random()
  if (dice < 0.35) return text.slice(0, at) + (PIECES[Math.floor(random() * PIECES.length)] ?? '') + text.slice(at)
  if (dice < 0.6) return text.slice(0, at) + text.slice(at + 1 + Math.floor(random() * 12))
  if (dice < 0.8) {
    const from = Math.floor(random() * text.length)
    return text.slice(0, at) + text.slice(from, from + 30) + text.slice(at)
  }
  return text.slice(0, at) + String.fromCharCode(32 + Math.floor(random() * 95)) + text.slice(at + 1)
}

/** A plan that loads, or errors that all have a place inside the text. */
function judged(yaml: string): DetailedResult {
  const result = compileConfig(yaml)
  const refused = result.ok ? [] : result.errors.filter(({ code }) => code.endsWith('-work')).map(({ code }) => code)
  for (const kind of KINDS) {
    const used = result.work[kind] / allowed(kind, yaml.length)
    most[kind] = Math.max(most[kind], refused.length > 0 ? 0 : used)
    // One query may take its own share before it is refused, and the last step passes the limit.
    if (!refused.includes(`${kind}-work`)) expect(used, `${kind} steps`).toBeLessThanOrEqual(1)
    else expect(used, `${kind} steps`).toBeLessThan(2)
  }
  if (result.ok) {
    loadPlan(result.plan)
    // What planning made of it: conditions are multiplied out, but not without bound.
    expect(JSON.stringify(result.plan).length).toBeLessThan(PLAN_PER_CHARACTER * yaml.length)
    return result
  }
  const lines = yaml.split('\n').length
  expect(result.errors.length).toBeGreaterThan(0)
  for (const { place, code, message } of result.errors) {
    expect(place.line).toBeGreaterThan(0)
    expect(place.line).toBeLessThanOrEqual(lines)
    expect(code).toMatch(/^[a-z0-9-]+$/)
    expect(message.length).toBeGreaterThan(5)
  }
  return result
}

test(`${INPUTS} mutated files: never a crash, always a plan or errors with their places, and nothing is left behind`, () => {
  const random = generator(20261124)
  const seen = { plan: 0, errors: 0 }
  let early = 0
  for (let n = 0; n < INPUTS; n++) {
    if (n === Math.floor(INPUTS / 10)) early = heap()
    let yaml = texts[Math.floor(random() * texts.length)] ?? ''
    for (let times = 1 + Math.floor(random() * 4); times > 0; times--) yaml = mutate(yaml, random)
    seen[judged(yaml).ok ? 'plan' : 'errors']++
  }
  expect(seen.plan).toBeGreaterThan(0)
  expect(seen.errors).toBeGreaterThan(0)
  expect(heap() - early, 'bytes that nine tenths of the inputs have left behind').toBeLessThan(10 * MB)
}, 3_600_000)

const query = (sql: string) => `bucket_definitions:\n  a:\n    data:\n      - ${JSON.stringify(sql)}\n`

test.each([
  ['parentheses', query(`SELECT id FROM t WHERE ${'('.repeat(20_000)}a = 1${')'.repeat(20_000)}`)],
  ['a chain of OR', query(`SELECT id FROM t WHERE ${'a = 1 OR '.repeat(5_000)}a = 2`)],
  ['calls', query(`SELECT id, ${'upper('.repeat(5_000)}a${')'.repeat(5_000)} AS x FROM t`)],
  ['NOT', query(`SELECT id FROM t WHERE ${'NOT '.repeat(20_000)}a = 1`)],
  ['lists of YAML', '['.repeat(50_000)],
  ['maps of YAML', `a: ${'{a: '.repeat(50_000)}`],
  ['indented maps', Array.from({ length: 700 }, (_, i) => `${' '.repeat(i)}a:\n`).join('')],
  ['IN (SELECT', query(`SELECT id FROM t WHERE ${'a IN (SELECT b FROM t WHERE '.repeat(25)}c${')'.repeat(25)}`)],
  ['CASE', query(`SELECT id, ${'CASE WHEN a THEN '.repeat(300)}b${' END'.repeat(300)} AS x FROM t`)],
])('deep nesting of %s ends, with a plan or an error', (_, yaml) => {
  judged(yaml)
})

const stream = (...queries: string[]) =>
  `config: {edition: 3}\nstreams:\n  s:\n    queries: ${JSON.stringify(queries)}\n`
const codes = (yaml: string): string[] => {
  const result = judged(yaml)
  return result.ok ? [] : result.errors.map(({ code, place }) => `${code} ${place.line}:${place.column}`)
}

test('SQL with more readings than its length allows is refused at its place', () => {
  const nested = (depth: number) => `SELECT id, ${'substring('.repeat(depth)}a${')'.repeat(depth)} AS x FROM t`
  expect(codes(stream(nested(2)))).toEqual(['sql-syntax 4:16'])
  expect(codes(stream('SELECT id FROM t', nested(25)))).toEqual(['sql-work 4:35'])
})

test('a map with very many keys is refused where they become too many', () => {
  const keys = Array.from({ length: 6_000 }, (_, i) => `k${i}: 1\n`).join('')
  expect(codes(keys)).toEqual([expect.stringMatching(/^yaml-work \d+:1$/)])
  expect(
    codes(
      `bucket_definitions:\n${Array.from({ length: 300 }, (_, i) => `  k${i}: {data: [SELECT id FROM t${i}]}\n`).join('')}`,
    ),
  ).toEqual([])
})

test('conditions that multiply out without end are refused at their place', () => {
  const many = Array.from({ length: 6 }, (_, i) => `(a = auth.parameter('${i}') OR b = auth.parameter('x'))`).join(
    ' AND ',
  )
  const wide = Array.from({ length: 20 }, () => `(${many})`).join(' OR ')
  expect(codes(stream(`SELECT id FROM t WHERE ${wide}`))).toEqual(['too-many-disjuncts 4:41'])
})

test('a CTE that is used very often is read each time, and that is counted', () => {
  const cte = `SELECT id FROM m WHERE ${Array.from({ length: 700 }, (_, i) => `c${i} = 1`).join(' AND ')}`
  const uses = Array.from({ length: 200 }, (_, i) => `  s${i}: {query: "SELECT * FROM t WHERE x IN c"}\n`).join('')
  expect(codes(`config: {edition: 3}\nwith:\n  c: ${cte}\nstreams:\n${uses}`)).toContainEqual(
    expect.stringMatching(/^plan-work \d+:3$/),
  )
})

test('what the work takes is far from what is allowed, except where it is refused', () => {
  expect(most.sql).toBeLessThan(0.7)
  expect(most.yaml).toBeLessThan(0.3)
  expect(most.plan).toBeLessThan(0.3)
})
