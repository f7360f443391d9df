import { expect, test } from 'vitest'
import { namesOf } from './deploy-text.ts'

const data = (...names: string[]) => names.map((name) => ({ kind: 'data' as const, name }))
const lookup = (...names: string[]) => names.map((name) => ({ kind: 'lookup' as const, name }))

test('each name stands once in what a deploy would do', () => {
  const difference = {
    kept: [...data('me', 'todos', 'todos'), ...lookup('todos, lists')],
    added: [...data('me', 'new'), ...lookup('new')],
    removed: data('old', 'me'),
  }
  expect(namesOf(difference)).toEqual({ kept: ['todos', 'lists'], changed: ['me'], added: ['new'], removed: ['old'] })
  expect(namesOf({ kept: [], added: data('me'), removed: data('me') })).toEqual({ kept: [], changed: ['me'], added: [], removed: [] })
})
