import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { SqliteValue, ValueOptions } from '../protocol/values.ts'
import { startPostgres, type TestPostgres } from '../test/postgres.ts'
import {
  connectSource,
  emitMarker,
  openReplication,
  prepareSource,
  readChunk,
  readRows,
  TableDecoder,
  type CatalogTable,
  type PgoutputMessage,
  type Tuple,
} from './index.ts'

const LEGACY: ValueOptions = { timestampsIso8601: false, customPostgresTypes: false }
const ISO: ValueOptions = { timestampsIso8601: true, customPostgresTypes: true }

/** Type, value, what clients get in edition 1, and from edition 2 on when that is something else. */
const CASES: [column: string, type: string, value: string, legacy: SqliteValue, iso?: SqliteValue][] = [
  ['c_int', 'int8', "'9007199254740993'", 9007199254740993n],
  ['c_oid', 'oid', '7', 7n],
  ['c_f4', 'float4', '1.5', 1.5],
  ['c_f8', 'float8', '0.1::float8 + 0.2::float8', 0.30000000000000004],
  ['c_num', 'numeric', '1.50', '1.50'],
  ['c_money', 'money', '12.34', '$12.34'],
  ['c_bool', 'bool', 'true', 1n],
  ['c_char', 'char(5)', "'ab'", 'ab   '],
  ['c_uuid', 'uuid', "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'],
  ['c_json', 'json', `'{"a":  1}'`, '{"a":  1}'],
  ['c_jsonb', 'jsonb', `'{"b":1,"a":[1,2]}'`, '{"a": [1, 2], "b": 1}'],
  ['c_bytea', 'bytea', "'\\x00ff'", new Uint8Array([0, 255])],
  ['c_date', 'date', "'2023-03-06'", '2023-03-06'],
  ['c_inf', 'date', "'infinity'", '9999-12-31'],
  ['c_time', 'time', "'17:42:01.12'", '17:42:01.12', '17:42:01.120000'],
  ['c_ts', 'timestamp', "'2023-03-06 15:47:12.4'", '2023-03-06 15:47:12.4', '2023-03-06T15:47:12.400000'],
  ['c_tsz', 'timestamptz', "'2023-03-06 15:47+02'", '2023-03-06 13:47:00Z', '2023-03-06T13:47:00.000000Z'],
  ['c_bc', 'timestamp', "'0044-03-15 12:00 BC'", null],
  ['c_tsinf', 'timestamptz', "'-infinity'", '0000-01-01 00:00:00Z', '0000-01-01T00:00:00.000000Z'],
  ['c_interval', 'interval', "'1 day 2 hours'", '1 day 02:00:00'],
  ['c_lsn', 'pg_lsn', "'16/B374D848'", '00000016/B374D848'],
  ['c_ints', 'int4[]', "'{{1,2},{3,NULL}}'", '[[1,2],[3,null]]'],
  ['c_bools', 'bool[]', "'{t,f}'", '[1,0]'],
  ['c_floats', 'float8[]', "'{2,0.5}'", '[2.0,0.5]'],
  ['c_nums', 'numeric[]', "'{1.50}'", '["1.50"]'],
  ['c_texts', 'text[]', `array['a "b"', 'c,d', 'NULL', null, '\\']`, JSON.stringify(['a "b"', 'c,d', 'NULL', null, '\\'])],
  ['c_jsons', 'jsonb[]', `array['{"a": 1}'::jsonb]`, '[{"a": 1}]'],
  ['c_enum', 'mood', "'sad'", 'sad'],
  ['c_enums', 'mood[]', "'{sad,happy}'", '{sad,happy}', '["sad","happy"]'],
  ['c_dom', 'posint', '7', '7', 7n],
  ['c_comp', 'pair', `row(1, 'a "b", c')`, '(1,"a ""b"", c")', '{"x":1,"y":"a \\"b\\", c"}'],
  ['c_range', 'int4range', "'[1,10)'", '[1,10)', '{"lower":1,"upper":10,"lower_exclusive":0,"upper_exclusive":1}'],
  ['c_empty', 'int4range', "'empty'", 'empty'],
  [
    'c_multi',
    'int4multirange',
    "'{[1,3),[5,7)}'",
    '{[1,3),[5,7)}',
    '[{"lower":1,"upper":3,"lower_exclusive":0,"upper_exclusive":1},{"lower":5,"upper":7,"lower_exclusive":0,"upper_exclusive":1}]',
  ],
  ['c_null', 'text', 'NULL', null],
]

let postgres: TestPostgres
let table: CatalogTable
let chunk: Tuple
let streamed: { tuple: Tuple; columns: string[] }

beforeAll(async () => {
  postgres = await startPostgres()
  const sql = postgres.sql()
  // A database whose defaults print everything otherwise.
  for (const [name, value] of Object.entries({
    datestyle: 'SQL, DMY',
    intervalstyle: 'sql_standard',
    timezone: 'Asia/Tokyo',
    extra_float_digits: '-3',
    bytea_output: 'escape',
  })) {
    await sql.unsafe(`alter database app set ${name} = '${value}'`)
  }
  await sql
    .unsafe(`create type mood as enum ('sad', 'happy'); create domain posint as int check (value > 0); create type pair as (x int, y text)`)
    .simple()
  await sql.unsafe(
    `create table v (id int primary key, ${CASES.map(([name, type]) => `${name} ${type}`).join(', ')}, gen int generated always as (id + 1) stored)`,
  )
  const source = connectSource(postgres.url)
  const streaming = connectSource(postgres.url, { replication: true })
  const prepared = await prepareSource(source, { slot: 'values', tables: [{ schema: 'public', name: 'v' }] })
  const messages: PgoutputMessage[] = []
  let marked: () => void = () => {}
  const marker = new Promise<void>((resolve) => (marked = resolve))
  const session = await openReplication(
    streaming,
    { slot: 'values', publication: prepared.publication, walSenderTimeoutMs: 60_000 },
    {
      message: (message) => {
        messages.push(message)
        if (message.type === 'message') marked()
      },
      keepalive: () => {},
    },
  )
  await sql.unsafe(
    `insert into v (id, ${CASES.map(([name]) => name).join(', ')}) values (1, ${CASES.map(([, type, value]) => `${value}::${type}`).join(', ')})`,
  )
  await emitMarker(source, 'test', 'done')
  await marker
  await session.close()
  table = prepared.tables[0] as CatalogTable
  const relation = messages.find((message) => message.type === 'relation')
  const insert = messages.find((message) => message.type === 'insert')
  if (relation?.type !== 'relation' || insert?.type !== 'insert') throw new Error('nothing was streamed')
  streamed = { tuple: insert.new, columns: relation.columns.map((column) => column.name) }
  chunk = (await readChunk(source, table, table, 0, 1)).tuples[0] ?? []
  expect((await readRows(source, table, ['["1"]', '["2"]'])).tuples).toEqual([chunk])
  await source.end()
})

afterAll(() => postgres?.stop())

test('what a chunk reads is byte for byte what the stream sends, whatever the defaults of the database; generated columns are in neither', () => {
  expect(streamed.columns).toEqual(table.columns.map((column) => column.name))
  expect(streamed.columns).not.toContain('gen')
  expect(chunk).toEqual(streamed.tuple)
})

describe('values', () => {
  const resolved = (column: string, options: ValueOptions): SqliteValue => {
    const value = new TableDecoder(table, streamed.columns).row(streamed.tuple).row[column]
    if (value === undefined) throw new Error(`${column} is missing`)
    return value !== null && typeof value === 'object' && 'resolve' in value ? value.resolve(options) : value
  }
  test.each(CASES)('%s %s', (column, _type, _value, legacy, iso) => {
    expect(resolved(column, LEGACY)).toEqual(legacy)
    expect(resolved(column, ISO)).toEqual(iso ?? legacy)
  })
})

test('a key is taken from the old tuple where the new one says "unchanged"', () => {
  const decoder = new TableDecoder({ ...table, key: ['c_uuid', 'id'] }, ['id', 'c_uuid'])
  expect(decoder.key(['5', undefined], [null, 'long'])).toBe('["long","5"]')
  expect(decoder.key(['5', 'x'])).toBe('["x","5"]')
})
