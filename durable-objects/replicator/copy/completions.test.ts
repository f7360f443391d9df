import { expect, test } from 'vitest'
import { parseSnapshot, TableDecoder, type CatalogTable, type Tuple } from '../../../sources/postgres/index.ts'
import { Completions } from './completions.ts'

const NAMES = ['id', 'n', 'a', 'b']
const TYPE = { oid: 25, kind: 'base' as const, name: 'text' }
const catalog: CatalogTable = {
  ...{ oid: 7, schema: 'public', name: 't', key: ['id'], keyEquals: ['='], identity: 'd', rowFilter: null },
  columns: NAMES.map((name) => ({ name, typeOid: 25, typeName: 'text', notNull: false, type: TYPE })),
  ...{ names: [], parts: [], partitioned: false, fingerprint: '' },
}
const decoder = new TableDecoder(catalog, NAMES)
const row = { table: { number: 1 }, key: '["1"]' }
const read: Tuple = ['1', '5', 'a of the read', 'b of the read']
const left = undefined
const XID = 7n
const snapshot = parseSnapshot('8:8:')

test('what was read becomes the row of now by the newest text of each column that came', () => {
  const completions = new Completions()
  expect(completions.complete(row, NAMES, read, snapshot)).toBeNull()
  completions.changed(row, XID, decoder, ['1', '6', 'a new', left])
  completions.changed(row, XID, decoder, ['1', '7', left, left])
  expect(completions.complete(row, NAMES, read, snapshot)).toEqual(['1', '7', 'a new', 'b of the read'])
  completions.changed(row, XID, decoder, ['1', '8', null, left])
  expect(completions.complete(row, NAMES, read, snapshot)).toEqual(['1', '8', null, 'b of the read'])
})

test('a row that was deleted, or is another one by that key, is not known before it came whole', () => {
  const completions = new Completions()
  for (const lose of [() => completions.gone(row, XID), () => completions.unknown(row, XID)]) {
    lose()
    completions.changed(row, XID, decoder, ['1', '7', left, left])
    expect(completions.complete(row, NAMES, read, snapshot)).toBeNull()
    completions.changed(row, XID, decoder, ['1', '8', 'a', 'b'])
    completions.changed(row, XID, decoder, ['1', '9', left, left])
    expect(completions.complete(row, NAMES, read, snapshot)).toEqual(['1', '9', 'a', 'b'])
  }
})

test('it begins anew when the row lacks nothing any more, and holds no more than so much', () => {
  const completions = new Completions(100)
  completions.changed(row, XID, decoder, ['1', '6', 'a', left])
  completions.keep(() => true)
  expect(completions.has(row)).toBe(true)
  completions.keep(() => false)
  expect(completions.has(row)).toBe(false)
  completions.changed(row, XID, decoder, ['1', '7', left, left])
  expect(completions.complete(row, NAMES, read, snapshot)).toEqual(['1', '7', 'a of the read', 'b of the read'])
  completions.changed(row, XID, decoder, ['1', '8', 'x'.repeat(100), left])
  expect(completions.complete(row, NAMES, read, snapshot)).toBeNull()
  // Something was not noted, so nothing of what follows may be used.
  completions.changed(row, XID, decoder, ['1', '9', left, left])
  expect(completions.complete(row, NAMES, read, snapshot)).toBeNull()
})

test('what was read without the transaction in which it began may be older than that had made it', () => {
  const completions = new Completions()
  // In the same transaction, and before this, `b` may have changed: the row lacked nothing then, and it was not noted.
  completions.changed(row, XID, decoder, ['1', '6', left, left])
  completions.changed(row, XID + 1n, decoder, ['1', '7', left, left])
  for (const before of ['7:7:', '7:9:7']) expect(completions.complete(row, NAMES, read, parseSnapshot(before))).toBeNull()
  for (const behind of ['8:8:', '8:9:8']) {
    expect(completions.complete(row, NAMES, read, parseSnapshot(behind))).toEqual(['1', '7', 'a of the read', 'b of the read'])
  }
})
