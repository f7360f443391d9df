import { expect, test } from 'vitest'
import type { SentValues } from '../../../sources/source.ts'
import { Completions } from './completions.ts'

const NAMES = ['id', 'n', 'a', 'b']
type Values = readonly (string | null | undefined)[]
/** What a change sent: undefined was left out. */
function sent(values: Values): SentValues {
  const there = NAMES.flatMap((name, i) => (values[i] === undefined ? [] : [[name, values[i]] as const]))
  return { values: new Map(there), whole: there.length === NAMES.length }
}
/** A read that sees all transactions up to this one, but for some. */
const viewAt = (upTo: bigint, ...not: bigint[]) => ({
  sees: (tx: bigint) => tx <= upTo && !not.includes(tx),
  seesAllUpTo: () => false,
})
/** The row that was read, as it is now. */
function completed(completions: Completions, view = viewAt(7n)): Values | null {
  const newer = completions.newer(row, view)
  return newer && NAMES.map((name, i) => (newer.has(name) ? (newer.get(name) as string | null) : read[i]))
}
const row = { table: { number: 1 }, key: '["1"]' }
const read: Values = ['1', '5', 'a of the read', 'b of the read']
const left = undefined
const XID = 7n

test('what was read becomes the row of now by the newest text of each column that came', () => {
  const completions = new Completions()
  expect(completed(completions)).toBeNull()
  completions.changed(row, XID, sent(['1', '6', 'a new', left]))
  completions.changed(row, XID, sent(['1', '7', left, left]))
  expect(completed(completions)).toEqual(['1', '7', 'a new', 'b of the read'])
  completions.changed(row, XID, sent(['1', '8', null, left]))
  expect(completed(completions)).toEqual(['1', '8', null, 'b of the read'])
})

test('a row that was deleted, or is another one by that key, is not known before it came whole', () => {
  const completions = new Completions()
  for (const lose of [() => completions.gone(row, XID), () => completions.unknown(row, XID)]) {
    lose()
    completions.changed(row, XID, sent(['1', '7', left, left]))
    expect(completed(completions)).toBeNull()
    completions.changed(row, XID, sent(['1', '8', 'a', 'b']))
    completions.changed(row, XID, sent(['1', '9', left, left]))
    expect(completed(completions)).toEqual(['1', '9', 'a', 'b'])
  }
})

test('a row is forgotten when it lacks nothing any more, and the memory has a limit', () => {
  const completions = new Completions(100)
  completions.changed(row, XID, sent(['1', '6', 'a', left]))
  completions.keep(() => true)
  expect(completions.has(row)).toBe(true)
  completions.keep(() => false)
  expect(completions.has(row)).toBe(false)
  completions.changed(row, XID, sent(['1', '7', left, left]))
  expect(completed(completions)).toEqual(['1', '7', 'a of the read', 'b of the read'])
  completions.changed(row, XID, sent(['1', '8', 'x'.repeat(100), left]))
  expect(completed(completions)).toBeNull()
  // Something was not noted, so nothing of what follows may be used.
  completions.changed(row, XID, sent(['1', '9', left, left]))
  expect(completed(completions)).toBeNull()
})

test('what was read without the transaction in which it began may be older than that had made it', () => {
  const completions = new Completions()
  // In the same transaction, and before this, `b` may have changed: the row lacked nothing then, and it was not noted.
  completions.changed(row, XID, sent(['1', '6', left, left]))
  completions.changed(row, XID + 1n, sent(['1', '7', left, left]))
  for (const before of [viewAt(6n), viewAt(8n, 7n)]) expect(completed(completions, before)).toBeNull()
  for (const after of [viewAt(7n), viewAt(8n, 8n)])
    expect(completed(completions, after)).toEqual(['1', '7', 'a of the read', 'b of the read'])
})
