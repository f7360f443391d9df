import { expect, test } from 'vitest'
import { testDatabase } from '../../test-database.ts'
import { Batch } from '../ingest/batch.ts'
import { RowStates, type RowState } from './row-state.ts'
import { migrate } from '../../shared/database.ts'
import { MIGRATIONS } from './storage.ts'

const table = { number: 1, schema: 'public', name: 'items' }
const state = (id: string, image: RowState['image'] = null): RowState => ({
  outputs: [{ bucket: 1, type: 'items', id, hash: 'a-strong_hash_of_a_row' }],
  image,
})

function rowStates(): RowStates {
  const db = testDatabase()
  migrate(db, MIGRATIONS)
  return new RowStates(db)
}

test('rows are read as they were stored, with any keys, texts, number and size', () => {
  const rows = rowStates()
  const ids = ['1', 'a"b', 'back\\slash', 'né ☃ 😀', '\u2028', 'new\nline', '[1,"x"]', '', 'null']
  const put = new Map<string, RowState>(ids.map((id) => [JSON.stringify([id]), state(id, { text: id.repeat(3) })]))
  put.set('["two","columns"]', state('two'))
  put.set('["two",null]', state('null'))
  put.set('["large"]', state('large', { text: '"'.repeat(900_000) }))
  put.set('["larger than a list in bytes"]', state('wide', { text: '☃'.repeat(390_000) }))
  put.set('["copies"]', { ...state('copies'), copies: 3 })
  for (let n = 0; n < 10_000; n++) put.set(`["n${n}"]`, state(`n${n}`))
  rows.put([{ table, states: put }])
  const keys = [...put.keys()]
  expect(rows.all(table.number, [...keys, '["absent"]'], table.name)).toEqual(put)
  for (const key of keys.slice(0, 20)) expect(rows.get({ t: table.number, key }, table.name)).toEqual(put.get(key))
  expect(rows.all(2, keys, table.name).size).toBe(0)

  const changed = new Map(keys.map((key, i) => [key, i % 2 === 0 ? null : state('other')]))
  rows.put([{ table, states: changed }])
  expect(rows.all(table.number, keys, table.name)).toEqual(new Map([...changed].filter(([, each]) => each !== null)))
})

test('an image is stored with its kind of source, a bare one is read, and that of a mailbox has no kind', () => {
  const db = testDatabase()
  migrate(db, MIGRATIONS)
  const rows = new RowStates(db)
  const stored = () =>
    db.all('SELECT t, image FROM rows ORDER BY t').map(({ t, image }) => [t, JSON.parse(String(image)) as unknown])
  db.run('INSERT INTO rows VALUES (?, ?, ?, ?)', 1, '["1"]', '[]', '{"big":"bare"}')
  expect(rows.get({ t: 1, key: '["1"]' }, 'items')?.image).toEqual({ big: 'bare' })
  const put = new Map([['["1"]', state('1', { big: 'x' })]])
  rows.put([{ table, states: put }])
  rows.put([{ table: { number: 0, name: 'mailbox' }, states: new Map([['["1"]', state('1', { days: '7' })]]) }])
  expect(stored()).toEqual([
    [0, { days: '7' }],
    [1, { kind: 'postgres', v: 1, value: { big: 'x' } }],
  ])
  rows.imagesOf({ name: 'memory', version: 2 })
  rows.put([{ table, states: put }])
  expect(stored()[1]).toEqual([1, { kind: 'memory', v: 2, value: { big: 'x' } }])
  expect(rows.get({ t: 1, key: '["1"]' }, 'items')?.image).toEqual({ big: 'x' })
})

test('a batch sees its own changes over loaded rows, and loads each row once', () => {
  const rows = rowStates()
  rows.put([
    {
      table,
      states: new Map([
        ['["1"]', state('1')],
        ['["2"]', state('2')],
      ]),
    },
  ])
  const asked: (readonly string[])[] = []
  const batch = new Batch(0, {
    evaluate: () => ({ rows: [], errors: [] }),
    states: ({ number, name }, keys) => (asked.push(keys), rows.all(number, keys, name)),
    number: () => 1,
    skipped: () => {},
  })
  batch.load(table, ['["1"]', '["2"]', '["3"]'])
  batch.remove(table, '["1"]')
  expect(batch.state(table, '["1"]')).toBeNull()
  expect(batch.state(table, '["2"]')).toEqual(state('2'))
  expect(batch.state(table, '["3"]')).toBeNull()
  expect(asked).toHaveLength(1)
  expect(batch.state({ ...table, number: 2 }, '["2"]')).toBeNull()
  batch.load(table, ['["1"]', '["2"]'])
  expect(batch.state(table, '["1"]')).toBeNull()
  expect(batch.counter).toBe(1)
})

test('the forms of hashes: strong, strong with a weak subkey, and the weak one of an older version', () => {
  const db = testDatabase()
  migrate(db, MIGRATIONS)
  const rows = new RowStates(db)
  const strong = { bucket: 1, type: 'items', id: '1', hash: 'a-strong_hash_of_a_row' }
  const put = new Map<string, RowState>([
    ['["1"]', { outputs: [strong, { ...strong, bucket: 2, weakSubkey: true }], image: null }],
    ['["2"]', { outputs: [{ ...strong, id: '2', hash: '0123456789abcdef', weakSubkey: true }], image: null }],
  ])
  rows.put([{ table, states: put }])
  expect(db.all('SELECT outputs FROM rows ORDER BY key').map((row) => row.outputs)).toEqual([
    '[[1,"a-strong_hash_of_a_row"],[2,"~a-strong_hash_of_a_row"]]',
    // As it was stored before there were others.
    '[[1,"0123456789abcdef"]]',
  ])
  expect(rows.all(table.number, [...put.keys()], table.name)).toEqual(put)
})
