import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { compile, loadPlan, parsePlan, planHash, type LoadedPlan, type Plan } from './index.ts'

const lists = { schema: 'public', name: 'lists' }

function planOf(yaml: string): Plan {
  const result = compile(yaml)
  if (!result.ok) throw new Error(JSON.stringify(result.errors))
  return result.plan
}
const load = (yaml: string): LoadedPlan => loadPlan(planOf(yaml))
const user = (sub: string, claims = {}) => ({
  claims: { sub, ...claims },
  parameters: {},
  includeDefaults: true,
  subscriptions: [],
})
const none = (): undefined => undefined

describe('the sync config of the example', () => {
  const plan = loadPlan(
    parsePlan(JSON.stringify(planOf(readFileSync(new URL('../sync-config.yaml', import.meta.url), 'utf8')))),
  )

  test('a row is in the bucket that its owner has', () => {
    const row = {
      id: 'l1',
      name: 'Groceries',
      owner_id: 'alice',
      shared: 0n,
      created_at: null,
      photo: new Uint8Array([1]),
    }
    const { rows, errors } = plan.evaluateRow(lists, row)
    const { buckets, need } = plan.request(user('alice')).resolve(none)
    expect(errors).toEqual([])
    expect(need).toEqual([])
    expect(rows).toHaveLength(1)
    expect(rows[0]).toMatchObject({ objectType: 'lists', objectId: 'l1' })
    expect(rows[0]?.data).toBe('{"id":"l1","name":"Groceries","owner_id":"alice","shared":0,"created_at":null}')
    expect(buckets.map((bucket) => bucket.bucket)).toContain(rows[0]?.bucket)
    expect(
      plan
        .request(user('bob'))
        .resolve(none)
        .buckets.map((bucket) => bucket.bucket),
    ).not.toContain(rows[0]?.bucket)
  })

  test('a shared row is in the bucket that everybody has too', () => {
    const { rows } = plan.evaluateRow(lists, { id: 'l1', owner_id: 'alice', shared: 1n })
    const bob = plan
      .request(user('bob'))
      .resolve(none)
      .buckets.map((bucket) => bucket.bucket)
    expect(rows).toHaveLength(2)
    expect(rows.filter((row) => bob.includes(row.bucket))).toHaveLength(1)
  })
})

test('integers keep their digits, reals their decimal point, missing columns and bytes are left out', () => {
  const plan = load('bucket_definitions: {all: {data: [SELECT * FROM lists]}}')
  const row = {
    id: 9007199254740993n,
    real: 2,
    gone: undefined,
    bytes: new Uint8Array(1),
    _hidden: 1n,
    at: { resolve: () => 'then' },
  }
  expect(plan.evaluateRow(lists, row).rows[0]).toMatchObject({
    objectId: '9007199254740993',
    data: '{"id":9007199254740993,"real":2.0,"at":"then"}',
  })
})

test('columns may be called like what every JavaScript object has', () => {
  const select = 'SELECT id, constructor IS NULL AS none, "toString" AS text, "__proto__" AS proto FROM lists'
  const plan = load(`bucket_definitions:\n  constructor:\n    data: [${JSON.stringify(select)}]\n`)
  const own = Object.fromEntries([
    ['id', '2'],
    ['constructor', 5n],
    ['toString', 'x'],
    ['__proto__', 'y'],
  ])
  expect([{ id: '1' }, own].map((row) => plan.evaluateRow(lists, row).rows[0]?.data)).toEqual([
    '{"id":"1","none":1}',
    '{"id":"2","none":0,"text":"x","proto":"y"}',
  ])
})

test('a table query is a lookup whose rows decide on the buckets', () => {
  const plan = load(`
bucket_definitions:
  projects:
    parameters: SELECT project_id FROM members WHERE user_id = request.user_id()
    data: [SELECT * FROM projects WHERE id = bucket.project_id]`)
  const member = plan.evaluateRow({ schema: 'public', name: 'members' }, { id: 'm', user_id: 'ann', project_id: 7n })
  const project = plan.evaluateRow({ schema: 'public', name: 'projects' }, { id: 7n })
  const program = plan.request(user('ann'))
  const first = program.resolve(none)
  expect(first).toMatchObject({ need: [member.rows[0]?.bucket], buckets: [] })
  const second = program.resolve(() => [member.rows[0]?.data ?? ''])
  expect(second.buckets.map((bucket) => bucket.bucket)).toEqual([project.rows[0]?.bucket])
})

test('the same content has the same name, whatever stands around it', () => {
  const one = load('bucket_definitions: {a: {data: [SELECT * FROM lists]}}')
  const two = load(
    '# a comment\nbucket_definitions:\n  b:\n    data: [SELECT id FROM t]\n  a:\n    data:\n      - |\n        SELECT *  FROM lists -- all\n',
  )
  expect(two.evaluateRow(lists, { id: '1' }).rows).toEqual(one.evaluateRow(lists, { id: '1' }).rows)
  expect(planHash(planOf('bucket_definitions: {a: {data: [SELECT * FROM lists]}}'))).toBe(one.hash)
  expect(two.hash).not.toBe(one.hash)
})

test('a row that one query cannot evaluate is lost for that query only', () => {
  const plan = load(
    `bucket_definitions: {bad: {data: ["SELECT id, j ->> 'a' AS a FROM lists"]}, good: {data: [SELECT id FROM lists]}}`,
  )
  const { rows, errors } = plan.evaluateRow(lists, { id: '1', j: '{broken' })
  expect(rows.map((row) => row.data)).toEqual(['{"id":"1"}'])
  expect(errors).toHaveLength(1)
})

test('all mistakes are reported at once, each at its place', () => {
  const result = compile(
    'bucket_definitions:\n  a:\n    data:\n      - SELECT nope(id) AS id FROM t\n      - "SELECT id FROM t WHERE a LIKE \'x\'"\n    typo: 1\n',
  )
  expect(result.ok).toBe(false)
  expect(result.ok ? [] : result.errors.map(({ code, place }) => [code, place.line, place.column])).toEqual([
    ['unknown-key', 6, 5],
    ['function', 4, 16],
    ['operator', 5, 33],
  ])
})

test('more buckets than the limit are refused with PSYNC_S2305', () => {
  const yaml = `bucket_definitions: {a: {parameters: "SELECT value AS v FROM json_each(request.jwt() -> 'vs')", data: [SELECT * FROM t WHERE id = bucket.v]}}`
  const program = loadPlan(planOf(yaml), { buckets: 2 }).request(user('u', { vs: [1, 2, 3] }))
  expect(() => program.resolve(none)).toThrow(expect.objectContaining({ code: 'PSYNC_S2305' }))
})
