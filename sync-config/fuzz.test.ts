import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { compile, loadPlan } from './index.ts'

const INPUTS = Number(process.env.ROCKPOOL_FUZZ ?? 3_000)
const folder = new URL('./fixtures/cases/', import.meta.url)
const texts = readdirSync(folder).map((file): string => (JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as { yaml: string }).yaml)
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

function generator(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
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
function judged(yaml: string): 'plan' | 'errors' {
  const result = compile(yaml)
  if (result.ok) {
    loadPlan(result.plan)
    // What planning made of it: conditions are multiplied out, but not without bound.
    expect(JSON.stringify(result.plan).length).toBeLessThan(PLAN_PER_CHARACTER * yaml.length)
    return 'plan'
  }
  const lines = yaml.split('\n').length
  expect(result.errors.length).toBeGreaterThan(0)
  for (const { place, code, message } of result.errors) {
    expect(place.line).toBeGreaterThan(0)
    expect(place.line).toBeLessThanOrEqual(lines)
    expect(code).toMatch(/^[a-z0-9-]+$/)
    expect(message.length).toBeGreaterThan(5)
  }
  return 'errors'
}

test(`${INPUTS} mutated files: never a crash, always a plan or errors with their places`, () => {
  const random = generator(20261124)
  const seen = { plan: 0, errors: 0 }
  for (let n = 0; n < INPUTS; n++) {
    let yaml = texts[Math.floor(random() * texts.length)] ?? ''
    for (let times = 1 + Math.floor(random() * 4); times > 0; times--) yaml = mutate(yaml, random)
    seen[judged(yaml)]++
  }
  expect(seen.plan).toBeGreaterThan(0)
  expect(seen.errors).toBeGreaterThan(0)
}, 600_000)

const query = (sql: string) => `bucket_definitions:\n  a:\n    data:\n      - ${JSON.stringify(sql)}\n`

test.each([
  ['parentheses', query(`SELECT id FROM t WHERE ${'('.repeat(20_000)}a = 1${')'.repeat(20_000)}`)],
  ['a chain of OR', query(`SELECT id FROM t WHERE ${'a = 1 OR '.repeat(5_000)}a = 2`)],
  ['calls', query(`SELECT id, ${'upper('.repeat(5_000)}a${')'.repeat(5_000)} AS x FROM t`)],
  ['NOT', query(`SELECT id FROM t WHERE ${'NOT '.repeat(20_000)}a = 1`)],
  ['lists of YAML', '['.repeat(50_000)],
  ['maps of YAML', `a: ${'{a: '.repeat(50_000)}`],
])('deep nesting of %s ends, with a plan or an error', (_, yaml) => {
  judged(yaml)
})
