import { expect, test } from 'vitest'
import { TableDecoder, type CatalogTable } from '../index.ts'
import { keptImage } from './row-image.ts'

const TEXT = 25
const table: CatalogTable = {
  oid: 7,
  schema: 'public',
  name: 'docs',
  key: ['id'],
  keyEquals: ['='],
  identity: 'd',
  columns: ['id', 'body', 'note'].map((name) => ({
    name,
    typeOid: TEXT,
    typeName: 'text',
    notNull: false,
    type: { oid: TEXT, kind: 'base', name: 'text' },
  })),
  names: [],
  parts: [],
  partitioned: false,
  rowFilter: null,
  fingerprint: '',
}
const decoder = new TableDecoder(table, ['id', 'body', 'note'])

test('what a change may leave out is kept: of rows that are long enough, values that are', () => {
  expect(keptImage(decoder, ['1', 'short', null])).toBeNull()
  expect(keptImage(decoder, ['1', 'x'.repeat(600), 'short'])).toEqual({ body: 'x'.repeat(600) })
  expect(keptImage(decoder, ['1', undefined, 'y'.repeat(20)], { body: 'x'.repeat(600) })).toEqual({
    body: 'x'.repeat(600),
    note: 'y'.repeat(20),
  })
})

// A stored value takes 2 MB.
test.each([
  ['letters', 'x', 1_890_000, 1_900_000],
  ['three bytes each', '水', 630_000, 640_000],
  ['quotes', '"', 949_000, 951_000],
  ['control characters', '\u0001', 316_000, 317_000],
])('nothing is kept that could not be stored: %s', (_, unit, fits, tooMuch) => {
  expect(keptImage(decoder, ['1', unit.repeat(fits), null])).not.toBeNull()
  expect(keptImage(decoder, ['1', unit.repeat(tooMuch), null])).toBeNull()
})
