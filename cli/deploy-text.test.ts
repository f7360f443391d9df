import { expect, test } from 'vitest'
import { differenceText, namesOf } from './deploy-text.ts'

const data = (...names: string[]) => names.map((name) => ({ kind: 'data' as const, name }))
const lookup = (...names: string[]) => names.map((name) => ({ kind: 'lookup' as const, name }))

test('each name appears once in what a deploy would do', () => {
  const difference = {
    kept: [...data('me', 'todos', 'todos'), ...lookup('todos, lists')],
    added: [...data('me', 'new'), ...lookup('new')],
    removed: data('old', 'me'),
  }
  expect(namesOf(difference)).toEqual({
    kept: ['todos', 'lists'],
    changed: ['me'],
    again: [],
    added: ['new'],
    removed: ['old'],
  })
  expect(namesOf({ kept: [], added: data('me'), removed: data('me') })).toEqual({
    kept: [],
    changed: ['me'],
    again: [],
    added: [],
    removed: [],
  })
})

test('a rollback: what is copied again, and that clients download it again', () => {
  const definitions = { kept: data('todos'), again: data('me', 'audit'), added: [], removed: data('me', 'new') }
  expect(namesOf(definitions)).toEqual({
    kept: ['todos'],
    changed: ['me'],
    again: ['audit'],
    added: [],
    removed: ['new'],
  })
  const text = differenceText(
    { plan: 'p', definitions, copy: [], refused: [], streams: 2, warnings: [] },
    'previous',
    (_, each) => each,
  )
  expect(text).toBe(
    [
      ...['kept     todos', 'changed  me', 'again    audit (served before: nothing is copied)', 'removed  new'],
      'clients  2 streams are open; they go on with the old one and move over when the new one is complete',
    ].join('\n'),
  )
})

test('a table that was never analysed is described as small, not with a guessed number', () => {
  const definitions = { kept: [], added: data('a'), removed: [] }
  const copy = [
    { table: 'public.a', rows: 82 },
    { table: 'public.b', rows: 9_000 },
  ]
  const text = differenceText(
    { plan: 'p', definitions, copy, refused: [], streams: 0, warnings: [] },
    'f',
    (_, each) => each,
  )
  expect(text).toContain('copy     public.a, few rows\n         public.b, about 9,000 rows\n')
})
