import { expect, test } from 'vitest'
import type { FailedTransaction } from '@rockpool/client'
import { corrected, refusedOf } from './refused.ts'

const failed = (id: string, dependsOn: string | null, ...ops: FailedTransaction['ops']): FailedTransaction => ({
  id,
  failedAt: 0,
  code: 'value',
  message: `refused ${id}`,
  field: null,
  current: null,
  dependsOn,
  ops,
})
const put = (data: object) => ({ op: 'put', table: 'todos', id: 't', data: JSON.stringify(data), old: null }) as const
const remove = { op: 'delete', table: 'todos', id: 't', data: null, old: null } as const

test('what builds on a refused write is shown with it, and by itself when that one has gone', () => {
  const all = [failed('1', null, put({ title: 'a', done: false })), failed('2', '1', remove), failed('3', '0', remove)]
  expect(refusedOf(all).map(({ id, also, text }) => [id, also, text])).toEqual([
    ['1', ['2'], 'a'],
    ['3', [], null],
  ])
})

test('a corrected text takes the place of the refused one, and nothing else changes', () => {
  const ops = [remove, put({ title: 'a', done: true }), put({ title: 'b' })]
  expect(corrected(ops, 'c')).toEqual([remove, put({ title: 'c', done: true }), put({ title: 'b' })])
  expect(corrected([remove], 'c')).toEqual([remove])
  expect(corrected([put({ name: 'a' })], 'c')).toEqual([put({ name: 'c' })])
})
