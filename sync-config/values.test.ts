import { expect, test } from 'vitest'
import { ValueFailure } from '../protocol/values.ts'
import { compile, loadPlan } from './index.ts'
import { stream } from './test-evaluate.ts'

const result = compile(`
bucket_definitions:
  all:
    data:
      - SELECT id, r, doc FROM t
  ids:
    data:
      - SELECT id FROM t
`)
if (!result.ok) throw new Error(JSON.stringify(result.errors))
const plan = loadPlan(result.plan)
const table = { schema: 'public', name: 't' }

test('NaN and infinities, which JSON cannot say, are null for clients', () => {
  for (const r of [Number.NaN, Infinity, -Infinity]) {
    expect(plan.evaluateRow(table, { id: 'a', r, doc: null }).rows[0]?.data).toBe('{"id":"a","r":null,"doc":null}')
  }
})

test.each([
  ['x = 1', [1]],
  ['x != 1', [2, Number.NaN, Infinity]],
  ['x IN ARRAY[1, 2]', [1, 2]],
  ['x BETWEEN 0 AND 1', [1]],
  ['x < 2', [1]],
  ['x >= 2', [2, Number.NaN, Infinity]],
  ['x IS TRUE', [1]],
  ['x = y', [Number.NaN]],
])('NaN is greater than all other numbers and equal to itself, as in Postgres: %s', (where, wanted) => {
  const compiled = compile(stream(`SELECT id FROM t WHERE ${where}`))
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.errors))
  const evaluate = (x: number) => loadPlan(compiled.plan).evaluateRow(table, { id: 'a', x, y: Number.NaN }).rows
  expect([1, 2, Number.NaN, Infinity].filter((x) => evaluate(x).length > 0)).toEqual(wanted)
})

test('a value that cannot be given to clients fails its row, with the column, and no other', () => {
  const doc = {
    resolve: () => {
      throw new ValueFailure('nested deeper than 11 levels')
    },
  }
  const { rows, errors } = plan.evaluateRow(table, { id: 'a', r: 1, doc })
  expect(rows).toEqual([])
  expect(errors.map((error) => error.message)).toEqual([
    'column doc: nested deeper than 11 levels',
    'column doc: nested deeper than 11 levels',
  ])
  expect(plan.evaluateRow(table, { id: 'b', r: 1, doc: null }).rows).toHaveLength(2)
})

test('any other error of a value is a fault', () => {
  const doc = {
    resolve: () => {
      throw new TypeError('a fault')
    },
  }
  expect(() => plan.evaluateRow(table, { id: 'a', r: 1, doc })).toThrow('a fault')
})
