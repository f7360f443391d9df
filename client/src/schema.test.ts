import { expect, expectTypeOf, test } from 'vitest'
import { ProblemError } from './core/problem.ts'
import {
  bigint,
  boolean,
  decode,
  defineSchema,
  encode,
  integer,
  json,
  real,
  storedSchema,
  table,
  text,
  timestamp,
  type AnyColumn,
  type DatabaseOf,
  type InsertOf,
  type PatchOf,
  type RowOf,
} from './schema.ts'

const schema = defineSchema({
  lists: table({ name: text(), owner_id: text(), shared: boolean() }),
  todos: table(
    {
      list_id: text(),
      title: text(),
      done: boolean().default(false),
      due: timestamp().nullable(),
      labels: json<string[]>().nullable(),
      cents: bigint().nullable(),
      weight: real().default(() => 1.5),
    },
    { indexes: { by_list: ['list_id', 'due'] }, old: true },
  ),
})
type S = typeof schema

test('rows, inserts and patches have the types of their columns', () => {
  expectTypeOf<RowOf<S, 'lists'>>().toEqualTypeOf<{ id: string; name: string; owner_id: string; shared: boolean }>()
  expectTypeOf<RowOf<S, 'todos'>>().toEqualTypeOf<{
    id: string
    list_id: string
    title: string
    done: boolean
    due: string | null
    labels: string[] | null
    cents: bigint | null
    weight: number
  }>()
  expectTypeOf<InsertOf<S, 'todos'>>().toEqualTypeOf<{
    id?: string
    list_id: string
    title: string
    done?: boolean
    due?: string | null
    labels?: string[] | null
    cents?: bigint | null
    weight?: number
  }>()
  expectTypeOf<{ title: string; labels: null }>().toExtend<PatchOf<S, 'todos'>>()
  expectTypeOf<{ title: number }>().not.toExtend<PatchOf<S, 'todos'>>()
  expectTypeOf<{ list_id: string }>().not.toExtend<InsertOf<S, 'todos'>>()
  expectTypeOf<DatabaseOf<S>['lists']>().toEqualTypeOf<RowOf<S, 'lists'>>()
})

test('an index names columns that there are', () => {
  // @ts-expect-error There is no such column.
  table({ a: text() }, { indexes: { by_b: ['b'] } })
})

test('it is stored as tables of SQLite', () => {
  expect(storedSchema(schema)).toEqual({
    tables: {
      lists: { columns: { name: 'text', owner_id: 'text', shared: 'boolean' }, indexes: {}, old: false },
      todos: {
        columns: {
          list_id: 'text',
          title: 'text',
          done: 'boolean',
          due: 'text',
          labels: 'json',
          cents: 'integer',
          weight: 'real',
        },
        indexes: { by_list: ['list_id', 'due'] },
        old: true,
      },
    },
  })
})

const GOOD: [AnyColumn, unknown][] = [
  [text(), ''],
  [integer(), -5],
  [real(), 1.5],
  [boolean(), true],
  [boolean(), false],
  [json(), { a: [1, null] }],
  [json(), 'a text'],
  [bigint(), 9007199254740993n],
  [bigint(), 1n],
  [timestamp(), '2026-11-30T10:00:00.000001Z'],
  [text().nullable(), null],
  [json().nullable(), null],
]

test.each(GOOD)('a value comes back as it was (%#)', (column, value) => {
  const stored = encode(column, value, 'c')
  // SQLite gives small integers as numbers.
  expect(decode(column.kind, stored === 1n ? 1 : stored)).toEqual(value)
})

const BAD: [AnyColumn, unknown][] = [
  [text(), 1],
  [text(), null],
  [text(), undefined],
  [integer(), 1.5],
  [integer(), '1'],
  [integer(), 2 ** 60],
  [real(), NaN],
  [boolean(), 'true'],
  [boolean(), 1],
  [bigint(), 1],
  [bigint(), 2n ** 63n],
  [timestamp(), new Date(0)],
]

test.each(BAD)('a value of another kind is refused, and says where (%#)', (column, value) => {
  let thrown: unknown = null
  try {
    encode(column, value, 'todos.title')
  } catch (error) {
    thrown = error
  }
  expect(thrown).toBeInstanceOf(ProblemError)
  expect(String(thrown)).toContain('todos.title')
})

test('what the server sends and no column of this kind holds comes as it is', () => {
  expect(decode('boolean', 'yes')).toBe('yes')
  expect(decode('json', '{broken')).toBe('{broken')
  expect(decode('bigint', 'x')).toBe('x')
  expect(decode('text', 5)).toBe(5)
})

test('defaults are made for each row, and NULL where nothing else is said', () => {
  const { columns } = schema.tables.todos
  expect(columns.done.given?.()).toBe(false)
  expect(columns.weight.given?.()).toBe(1.5)
  expect(columns.due.given?.()).toBeNull()
  expect(columns.title.given).toBeNull()
  let n = 0
  const counted = integer().default(() => ++n)
  expect([counted.given?.(), counted.given?.(), counted.nullable().given?.()]).toEqual([1, 2, 3])
})
