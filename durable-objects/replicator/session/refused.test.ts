import { expect, test } from 'vitest'
import { MAX_REASON_LENGTH, MAX_REFUSED_BYTES, storable } from './refused.ts'

const refused = (table: string, reason: string) => ({
  name: { schema: 'public', name: table },
  table,
  reason,
  gone: false,
  names: [{ schema: 'public', name: table }],
})

test('what is stored of refused tables has a limit, however many there are and whatever their reasons are', () => {
  expect(storable([refused('a', 'no key')])).toEqual([
    { table: 'a', reason: 'no key', names: [{ schema: 'public', name: 'a' }] },
  ])
  expect(storable([refused('a', 'x'.repeat(5_000))])[0]?.reason).toHaveLength(MAX_REASON_LENGTH)
  const many = Array.from({ length: 10_000 }, (_, i) => refused(`t${i}`, '\u20ac'.repeat(500)))
  const kept = storable(many)
  expect(kept.length).toBeGreaterThan(200)
  expect(Buffer.byteLength(JSON.stringify(kept))).toBeLessThan(MAX_REFUSED_BYTES * 1.01)
})
