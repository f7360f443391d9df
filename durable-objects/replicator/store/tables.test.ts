import { expect, test } from 'vitest'
import { PostgresTable } from '../../../sources/postgres/postgres-table.ts'
import type { CatalogTable } from '../../../sources/postgres/index.ts'
import { migrate } from '../../shared/database.ts'
import { testDatabase } from '../../test-database.ts'
import { MIGRATIONS } from './storage.ts'
import { Tables } from './tables.ts'

const TEXT = 25
function catalog(fingerprint: string, more: Partial<CatalogTable> = {}): PostgresTable {
  return new PostgresTable({
    oid: 7,
    schema: 'public',
    name: 'docs',
    key: ['id'],
    keyEquals: ['='],
    identity: 'd',
    columns: [
      { name: 'id', typeOid: TEXT, typeName: 'text', notNull: true, type: { oid: TEXT, kind: 'base', name: 'text' } },
    ],
    names: [],
    parts: [],
    partitioned: false,
    rowFilter: null,
    fingerprint,
    ...more,
  })
}

test('images of an altered table are of its columns again once it is copied, whatever restarts that copy', () => {
  const db = testDatabase()
  migrate(db, MIGRATIONS)
  const use = (fingerprint: string) => {
    const tables = new Tables(db)
    const [table] = tables.use(
      [catalog(fingerprint)],
      () => true,
      () => true,
    )
    if (!table) throw new Error('it is not followed')
    return { tables, table }
  }
  const done = ({ tables, table }: ReturnType<typeof use>) =>
    tables.progress(table, { ...tables.copyState(table), state: 'done' })

  const first = use('a')
  expect(first.tables.hasImages(first.table)).toBe(true)
  done(first)
  const altered = use('b')
  expect(altered.tables.hasImages(altered.table)).toBe(false)
  altered.tables.progress(altered.table, { ...altered.tables.copyState(altered.table), state: 'copying', block: 3 })
  // Another incarnation, and a slot that was lost meanwhile.
  const again = use('b')
  again.tables.compareAll()
  expect(again.tables.hasImages(again.table)).toBe(false)
  again.tables.copy([{ schema: 'public', name: 'docs' }])
  expect(again.tables.hasImages(again.table)).toBe(false)
  done(again)
  expect(again.tables.hasImages(again.table)).toBe(true)
  // A slot was lost: a large value may have changed meanwhile, and the stream leaves it out of the next change.
  again.tables.compareAll()
  expect(again.tables.hasImages(again.table)).toBe(false)
  done(again)
  expect(again.tables.hasImages(again.table)).toBe(true)
})

test('a number is not reused after the rows of its table were removed, also in another incarnation', () => {
  const db = testDatabase()
  migrate(db, MIGRATIONS)
  const use = (tables: Tables, ...names: string[]) =>
    tables.use(
      names.map((name) => catalog('a', { name })),
      () => false,
      () => false,
    )
  const tables = new Tables(db)
  const [, gone] = use(tables, 'docs', 'notes')
  if (!gone) throw new Error('it is not followed')
  expect(gone.number).toBe(2)
  use(tables, 'docs')
  tables.forget(gone)
  expect(use(new Tables(db), 'docs', 'others').map(({ number }) => number)).toEqual([1, 3])
})

test('the progress of a comparison is known before the first session after a start', () => {
  const db = testDatabase()
  migrate(db, MIGRATIONS)
  const tables = new Tables(db)
  const followed = ['a', 'b', 'gone'].map((name) => catalog('f', { name, parts: [{ oid: 7, schema: 'public', name }] }))
  const use = (catalogs: PostgresTable[]) =>
    tables.use(
      catalogs,
      () => true,
      () => true,
    )
  for (const table of use(followed)) tables.progress(table, { ...tables.copyState(table), state: 'done' })
  // Something is wrong with one of them: nobody compares it.
  const [a] = use(followed.slice(0, 2))
  tables.compareAll()
  if (!a) throw new Error('it is not followed')
  tables.progress(a, { ...tables.copyState(a), state: 'copying', block: 3, blocks: 4 })
  expect(tables.compared(() => true)).toBe(0.375)
  expect(new Tables(db).compared(() => true)).toBe(0.375)
})
