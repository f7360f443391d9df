import { describe, expect, test } from 'vitest'
import { compileConfig } from './compile.ts'
import { loadPlan, parsePlan } from './index.ts'
import { codes, definition, stream } from './test-evaluate.ts'
import type { Plan } from './types.ts'

/** The id of a client row: where it comes from, and what becomes of rows that have none. */

const table = { schema: 'public', name: 'memberships' }
const row = { project_id: 'p', user_id: 'u', role: 'owner' }
const plan = (yaml: string): Plan => {
  const result = compileConfig(yaml)
  if (!result.ok) throw new Error(JSON.stringify(result.errors))
  return result.plan
}
const EDITIONS: [string, (query: string) => string][] = [
  ['bucket definitions', (query) => definition(null, query)],
  ['streams of edition 2', (query) => stream(query, 2)],
  ['streams', (query) => stream(query)],
]

describe.each(EDITIONS)('%s', (_, config) => {
  test('named columns without an id are refused at their place', () => {
    const result = compileConfig(config('SELECT project_id, role FROM memberships'))
    expect(result.ok ? [] : result.errors.map(({ code }) => code)).toEqual(['id-missing'])
    for (const query of [
      'SELECT role AS id FROM memberships',
      'SELECT id, role FROM memberships',
      'SELECT * FROM memberships',
    ]) {
      expect(codes(config(query)), query).not.toContain('id-missing')
    }
  })

  test('with the tables of the database, * that brings no id is an error, with the expression of its key', () => {
    const columns = Object.keys(row)
    const told = (query: string, schema = { tables: [{ ...table, columns, key: ['project_id', 'user_id'] }] }) => {
      const result = compileConfig(config(query), { schema })
      return [...(result.ok ? [] : result.errors), ...result.warnings].filter(({ code }) => code === 'id-missing')
    }
    const [finding] = told('SELECT * FROM memberships')
    expect(finding?.level).toBe('error')
    expect(finding?.message).toContain("`*, project_id || '/' || user_id AS id`")
    expect(told("SELECT *, project_id || '/' || user_id AS id FROM memberships")).toEqual([])
    expect(
      told('SELECT * FROM memberships', { tables: [{ ...table, columns: ['id', ...columns], key: ['id'] }] }),
    ).toEqual([])
  })

  test('a row without an id is in no bucket, and the rest of it stands', () => {
    const evaluate = (query: string, given: Record<string, string | null | Uint8Array>) =>
      loadPlan(plan(config(query))).evaluateRow(table, given)
    const none = evaluate('SELECT * FROM memberships', row)
    expect(none).toMatchObject({
      rows: [],
      errors: [{ message: expect.stringMatching(/no column id/), everyRow: true }],
    })
    const nothing = evaluate('SELECT *, role AS id FROM memberships', { ...row, role: null })
    expect(nothing).toMatchObject({ rows: [], errors: [{ message: 'the id of the row is NULL' }] })
    expect(nothing.errors[0]).not.toHaveProperty('everyRow')
    const bytes = evaluate('SELECT * FROM memberships', { ...row, id: new Uint8Array([1]) })
    expect(bytes).toMatchObject({ rows: [], errors: [{ message: 'the id of the row is a BLOB' }] })
    // An empty text is an id like another.
    expect(evaluate('SELECT * FROM memberships', { ...row, id: '' })).toMatchObject({
      rows: [{ objectId: '' }],
      errors: [],
    })
    const composed = evaluate("SELECT *, project_id || '/' || user_id AS id FROM memberships", row)
    expect(composed).toMatchObject({ rows: [{ objectId: 'p/u' }], errors: [] })
  })
})

test('columns of a CTE or a sub-select bring the id, or do not', () => {
  const config = (columns: string) =>
    `config: {edition: 3}\nwith:\n  mine: SELECT ${columns} FROM memberships WHERE user_id = auth.user_id()\nstreams:\n  s: {query: SELECT * FROM mine}\n`
  expect(codes(config('role'))).toContain('id-missing')
  expect(codes(config('user_id AS id'))).not.toContain('id-missing')
})

test('a plan that an earlier version stored without an id is read; its rows are left out, and other queries go on', () => {
  const yaml = `config: {edition: 3}\nstreams:\n  s: {queries: [SELECT id FROM memberships, "SELECT id, role FROM memberships WHERE role = 'owner'"]}\n`
  const stored = JSON.stringify(plan(yaml)).replace(/\{"name":"id","expr":\["column","id"\]\},(?=\{"name":"role")/, '')
  expect(stored).not.toBe(JSON.stringify(plan(yaml)))
  const { rows, errors } = loadPlan(parsePlan(stored)).evaluateRow(table, { id: 'm', ...row })
  expect(rows.map(({ objectId, data }) => [objectId, data])).toEqual([['m', '{"id":"m"}']])
  expect(errors).toMatchObject([{ where: 'query 2 of s', everyRow: true }])
})
