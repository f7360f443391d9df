import { expect, test } from 'vitest'
import { progressOf } from './deploy-progress.ts'

const table = (name: string, progress: number, state = 'copying') => ({ table: name, progress, state })

test('how far a deploy is: by rows, nothing of what the session does not know yet, everything when there is nothing to copy', () => {
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
