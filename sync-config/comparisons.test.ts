import { describe, expect, test } from 'vitest'
import { compileConfig } from './compile.ts'
import { definition, stream } from './test-evaluate.ts'
import type { SchemaTable } from './schema.ts'

const number = (name = 'int4') => ({ name, kind: 'number' }) as const
const text = (name = 'text') => ({ name, kind: 'text' }) as const
const table = (name: string, types: NonNullable<SchemaTable['types']>, unknown: string[] = []): SchemaTable => ({
  schema: 'public',
  name,
  columns: [...Object.keys(types), ...unknown],
  types,
})
const tables = [
  table(
    'tasks',
    { id: number(), owner: number(), team: text('uuid'), done: number('bool'), ref: { name: 'bytea', kind: 'bytes' } },
    ['label'],
  ),
  table('members', { id: number(), team_id: number('int8'), user_id: text() }),
]

const told = (yaml: string): string[] => {
  const { warnings } = compileConfig(yaml, { schema: { tables } })
  return warnings.filter(({ code }) => code === 'never-equal').map(({ message }) => message)
}
const inEach = (where: string) => [2, 3].map((edition) => told(stream(`SELECT * FROM tasks WHERE ${where}`, edition)))
const USER = 'the user id (text, unless tokens have a number as sub)'

test('a column of numbers and the user id, with the cast that helps', () => {
  const message = `tasks.owner (int4) and ${USER} are never equal: write owner::text.`
  expect(inEach('owner = auth.user_id()')).toEqual([[message], [message]])
  expect(told(definition('SELECT request.user_id() AS u', 'SELECT * FROM tasks WHERE owner = bucket.u'))).toEqual([
    message,
  ])
  expect(inEach('owner::text = auth.user_id()')).toEqual([[], []])
  expect(told(stream('SELECT * FROM tasks WHERE done = auth.user_id()'))).toEqual([
    `tasks.done (bool) and ${USER} are never equal.`,
  ])
  expect(told(stream('SELECT * FROM tasks WHERE ref = auth.user_id()'))).toEqual([
    `tasks.ref (bytea) and ${USER} are never equal: write hex(ref).`,
  ])
})

test('columns of two tables, one of which a lookup finds', () => {
  const found = 'team IN (SELECT team_id FROM members WHERE user_id = auth.user_id())'
  const message = 'tasks.team (uuid) and members.team_id (int8) are never equal: write team_id::text.'
  expect(inEach(found)).toEqual([[message], [message]])
  expect(inEach(found.replace('team_id', 'team_id::text'))).toEqual([[], []])
  expect(
    told(stream(`SELECT * FROM tasks WHERE owner IN (SELECT team_id FROM members WHERE id = auth.user_id())`)),
  ).toEqual([`members.id (int4) and ${USER} are never equal: write id::text.`])
})

test('a constant', () => {
  expect(told(stream("SELECT * FROM tasks WHERE owner = '7'"))).toEqual([
    "tasks.owner (int4) and '7' (text) are never equal: write owner::text.",
  ])
  expect(told(stream('SELECT * FROM tasks WHERE team = 7'))).toEqual([
    "tasks.team (uuid) and 7 (a number) are never equal: write '7'.",
  ])
})

test('elements of a list, in each form that IN takes', () => {
  const json = 'tasks.owner (int4) and "7" (text) are never equal: write owner::text.'
  expect(inEach(`owner IN '["7", "8"]'`)).toEqual([[json], [json]])
  expect(told(definition('SELECT 1 AS one', `SELECT * FROM tasks WHERE owner IN '["7"]' AND bucket.one = id`))).toEqual(
    [json],
  )
  expect(told(stream(`SELECT * FROM tasks WHERE owner NOT IN '["7"]'`))).toEqual([json])
  expect(inEach(`owner IN '[1, "7"]'`)).toEqual([[json], [json]])
  expect(inEach(`team IN '[7]'`)[0]).toEqual(['tasks.team (uuid) and 7 (a number) are never equal: write "7".'])
  const listed = "tasks.owner (int4) and '7' (text) are never equal: write owner::text."
  expect(told(stream("SELECT * FROM tasks WHERE owner IN ARRAY[1, '7', '8']"))).toEqual([listed])
  expect(told(stream("SELECT * FROM tasks WHERE owner NOT IN ARRAY['7']"))).toEqual([listed])
  expect(told(stream('SELECT * FROM tasks WHERE auth.user_id() IN ARRAY[7, 8]'))).toEqual([
    `${USER} and 7 (a number) are never equal: write '7'.`,
  ])
  const found = `team IN (SELECT team_id::text FROM members WHERE user_id = auth.user_id() AND id IN '["7"]')`
  const member = 'members.id (int4) and "7" (text) are never equal: write id::text.'
  expect(inEach(found)).toEqual([[member], [member]])
})

test('what may be equal is not told', () => {
  for (const where of [
    "owner = auth.parameter('n')",
    "owner IN auth.parameter('list')",
    'label = auth.user_id()',
    'team = auth.user_id()',
    'done = 1',
    'owner IN ARRAY[7, 8]',
    "owner IN '[7, null, [8]]'",
    "label IN '[7]'",
    'owner = 7.0',
    'nothing = auth.user_id()',
  ]) {
    expect(told(stream(`SELECT * FROM tasks WHERE ${where}`)), where).toEqual([])
  }
  expect(told(stream('SELECT * FROM others WHERE owner = auth.user_id()'))).toEqual([])
  expect(compileConfig(stream('SELECT * FROM tasks WHERE owner = auth.user_id()')).warnings).toEqual([])
})

test('columns of a subquery are looked up, too, in edition 2', () => {
  const yaml = stream('SELECT * FROM tasks WHERE owner IN (SELECT team FROM members WHERE user_id = auth.user_id())', 2)
  const { warnings } = compileConfig(yaml, { schema: { tables } })
  expect(warnings.map(({ code }) => code)).toContain('unknown-source-column')
})

describe('it points at the comparison', () => {
  /** What is marked, and in which line. */
  const marked = (yaml: string) =>
    compileConfig(yaml, { schema: { tables } })
      .warnings.filter(({ code }) => code === 'never-equal')
      .map(({ place, end }) => {
        const line = yaml.split('\n')[place.line - 1] ?? ''
        return [place.line, line.slice(place.column - 1, end?.line === place.line ? end.column - 1 : undefined)]
      })
  const block = (edition: number, where: string) =>
    `config: {edition: ${edition}}\nstreams:\n  s:\n    auto_subscribe: true\n    query: |\n      SELECT *\n      FROM tasks\n      WHERE id = 1 AND ${where}\n`

  test.each([2, 3])('in a stream of edition %i', (edition) => {
    expect(marked(block(edition, 'owner = auth.user_id()'))).toEqual([[8, 'owner = auth.user_id()']])
    expect(marked(block(edition, 'auth.user_id() = owner'))).toEqual([[8, 'auth.user_id() = owner']])
    expect(marked(block(edition, `owner IN '["7"]'`))).toEqual([[8, `owner IN '["7"]'`]])
    expect(marked(block(edition, 'owner IN (SELECT user_id FROM members WHERE\n      id = auth.user_id())'))).toEqual([
      [9, 'id = auth.user_id()'],
      [8, 'owner'],
    ])
  })

  test('in bucket definitions: in the query with the column', () => {
    const yaml = definition('SELECT request.user_id() AS u', 'SELECT * FROM tasks WHERE owner = bucket.u')
    expect(marked(yaml)).toEqual([[yaml.split('\n').findIndex((line) => line.includes('bucket.u')) + 1, 'owner']])
  })

  test('each stream at its own, also when they mean the same', () => {
    const query = 'query: SELECT * FROM tasks WHERE owner = auth.user_id()'
    const yaml = `config: {edition: 3}\nstreams:\n  one:\n    ${query}\n  two:\n    ${query}\n`
    expect(marked(yaml)).toEqual([
      [4, 'owner = auth.user_id()'],
      // The column is that of the first one.
      [6, 'auth.user_id()'],
    ])
  })
})
