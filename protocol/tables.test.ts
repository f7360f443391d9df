import { expect, test } from 'vitest'
import { tableKey, tableText } from './tables.ts'

test('tables whose texts are the same have keys of their own', () => {
  const one = { schema: 'a', name: 'b.docs' }
  const other = { schema: 'a.b', name: 'docs' }
  expect(tableText(one)).toBe(tableText(other))
  expect(tableKey(one)).not.toBe(tableKey(other))
})
