import { expect, test } from 'vitest'
import { newCopy } from '../copy/copy-state.ts'
import { comparedSoFar, newVerifying } from './progress.ts'

const sweeping = { ...newCopy(true), state: 'sweeping' as const, after: 'k', number: 3 }

test('where the comparison of a table was is nothing for the table that comes next when that one is not followed any more', () => {
  const now = { ...newVerifying(1, false, 't'), table: 2, copy: sweeping }
  expect(comparedSoFar(now, 3)).toBe(sweeping)
  expect(comparedSoFar(now, 4)).toEqual(newCopy(true))
  expect(comparedSoFar(now, 2).state).toBe('done')
  expect(comparedSoFar({ ...now, table: 4, copy: null }, 3).state).toBe('done')
  expect(comparedSoFar(null, 3).state).toBe('done')
})
