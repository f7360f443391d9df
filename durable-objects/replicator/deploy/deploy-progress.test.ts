import { expect, test } from 'vitest'
import type { TableCopyStatus } from '../../../protocol/messages/admin.ts'
import { ofDeploy, progressOf } from './deploy-progress.ts'

const table = (name: string, progress: number, state: TableCopyStatus['state'] = 'copying') => ({
  table: name,
  progress,
  state,
  block: 4,
  blocks: 4,
  rows: 9,
})

test('the progress of a deploy: by rows, 0 for tables that the session does not know yet, 1 when there is nothing to copy', () => {
  const copy = [
    { table: 'public.a', rows: 900 },
    { table: 'public.b', rows: 100 },
  ]
  expect(progressOf(copy, [])).toBe(0)
  expect(progressOf(copy, [table('public.other', 1, 'done')])).toBe(0)
  expect(progressOf(copy, [table('public.a', 0.5)])).toBe(0.45)
  expect(progressOf(copy, [table('public.a', 1, 'done'), table('public.b', 1, 'done')])).toBe(1)
  expect(progressOf([], [])).toBe(1)
  expect(progressOf([], [table('public.a', 0.5), table('public.b', 1, 'removing')])).toBe(0.5)
})

test('a table that was copied for the earlier config does not count until a session has begun with the deploy', () => {
  const copy = [{ table: 'public.a', rows: 900 }]
  const tables = [table('public.a', 1, 'done'), table('public.other', 1, 'done')]
  const before = ofDeploy(copy, tables, false)
  expect(before).toEqual([
    { table: 'public.a', state: 'waiting', block: 0, blocks: 0, rows: 0, progress: 0 },
    tables[1],
  ])
  expect(progressOf(copy, before)).toBe(0)
  expect(ofDeploy(copy, tables, true)).toEqual(tables)
})
