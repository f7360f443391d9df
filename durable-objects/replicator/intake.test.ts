import { expect, test } from 'vitest'
import type { PgoutputMessage } from '../../postgres/index.ts'
import type { SourceRow } from '../../protocol/values.ts'
import { Batch } from './batch.ts'
import { Intake, type SourceTable } from './intake.ts'

const OID = 7
const TEXT = 25
const column = (name: string) => ({ name, typeOid: TEXT, typmod: -1, key: name === 'id' })
const relation = (...names: string[]): PgoutputMessage => ({
  ...{ type: 'relation', oid: OID, schema: 'public', name: 't', identity: 'd' },
  columns: names.map(column),
})
const table: SourceTable = {
  ...{ number: 1, schema: 'public', name: 't' },
  catalog: {
    ...{ oid: OID, schema: 'public', name: 't', key: ['id'], keyEquals: ['='], identity: 'd' },
    columns: ['id', 'gone', 'kept'].map((name) => ({
      ...{ name, typeOid: TEXT, typeName: 'text', notNull: false },
      type: { oid: TEXT, kind: 'base' as const, name: 'text' },
    })),
    ...{ names: [], parts: [], partitioned: false, rowFilter: null, fingerprint: '' },
  },
}

function taken(messages: PgoutputMessage[]): SourceRow[] {
  const rows: SourceRow[] = []
  const intake = new Intake(
    new Map([[OID, table]]),
    'p',
    { position: null, partial: null },
    {
      sliceChanges: 1_000,
      newBatch: () =>
        new Batch(0, {
          evaluate: (_, row) => (rows.push(row), { rows: [], errors: [] }),
          states: () => new Map(),
          number: () => 1,
          skipped: () => {},
        }),
      store: () => {},
      keys: () => [],
      marker: () => {},
      deliver: () => {},
      room: () => true,
      hasIncomplete: () => false,
      unexpected: () => {},
    },
  )
  for (const message of messages) intake.message(message, 100)
  return rows
}

test('a row is what the stream said its columns were when it came, though a later statement of the transaction drops one', () => {
  const rows = taken([
    { type: 'begin', finalLsn: 5n, commitTime: 't', xid: 3 },
    relation('id', 'gone', 'kept'),
    { type: 'insert', oid: OID, new: ['1', 'x', 'y'] },
    relation('id', 'kept'),
    { type: 'insert', oid: OID, new: ['2', 'z'] },
    { type: 'commit', commitLsn: 5n, endLsn: 6n, commitTime: 't' },
  ])
  expect(rows).toEqual([
    { id: '1', gone: 'x', kept: 'y' },
    { id: '2', kept: 'z' },
  ])
})

test('a value that an update left out has its place among the columns: data is the same text, however the row came', () => {
  const rows = taken([
    { type: 'begin', finalLsn: 5n, commitTime: 't', xid: 3 },
    relation('id', 'gone', 'kept'),
    { type: 'update', oid: OID, old: ['1', 'x', 'y'], new: ['1', undefined, 'z'] },
    { type: 'commit', commitLsn: 5n, endLsn: 6n, commitTime: 't' },
  ])
  expect(JSON.stringify(rows)).toBe('[{"id":"1","gone":"x","kept":"z"}]')
})
