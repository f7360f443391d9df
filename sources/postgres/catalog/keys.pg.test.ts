import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { POSTGRES_VERSIONS, startPostgres, type TestPostgres } from '../../../test/support/postgres.ts'
import { connectSource, prepareSource, readRows, relationSize } from '../index.ts'

// Rows are read again by their keys, with the operator of the index, which need not be on the search path.
const KEYS: Record<string, [type: string, one: string, other: string]> = {
  k_ltree: ['odd.ltree', 'a.b', 'a.c'],
  k_citext: ['odd.citext', 'Ab', 'b'],
  k_hstore: ['odd.hstore', '"a"=>"1, }"', '"a"=>NULL'],
  k_mood: ['odd.mood', 'is "so", {so}', 'sad'],
  k_label: ['odd.label', 'x', 'X'],
  k_loose: ['odd.loose', 'x', 'y'],
  k_pair: ['odd.pair', '(1,"a, b")', '(1,)'],
  k_range: ['int4range', '[1,3)', 'empty'],
  k_array: ['odd.ltree[]', '{a.b,NULL}', '{}'],
  k_char: ['char(4)', 'ab  ', 'abc '],
  k_name: ['name', 'a', 'b'],
  k_float: ['float8', 'NaN', '0.1'],
  k_bytea: ['bytea', '\\x00ff', '\\x'],
  k_uuid: ['uuid', '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000002'],
  k_moment: ['timestamptz', '2024-02-29 00:00:00+00', '-infinity'],
  k_numeric: ['numeric', '1.50', '-0.001'],
  k_network: ['inet', '10.0.0.0/8', '::1'],
}

describe.each(POSTGRES_VERSIONS)('keys of every kind, Postgres %i', (version) => {
  let postgres: TestPostgres
  beforeAll(async () => {
    postgres = await startPostgres({}, { version })
    await postgres.sql().unsafe(`
      CREATE SCHEMA odd; CREATE EXTENSION ltree SCHEMA odd; CREATE EXTENSION citext SCHEMA odd; CREATE EXTENSION hstore SCHEMA odd;
      CREATE TYPE odd.mood AS ENUM ('sad', 'is "so", {so}');
      CREATE DOMAIN odd.label AS text;
      CREATE DOMAIN odd.loose AS odd.citext;
      CREATE TYPE odd.pair AS (x int, y text);`)
  })
  afterAll(() => postgres?.stop())

  test('a row is found by its key, and no other row is', async () => {
    const sql = postgres.sql()
    for (const [name, [type, one, other]] of Object.entries(KEYS)) {
      await sql.unsafe(`CREATE TABLE public.${name} (k ${type}, n int, v text, PRIMARY KEY (n, k))`)
      await sql.unsafe(
        `INSERT INTO public.${name} VALUES ($1::text::${type}, 1, 'one'), ($2::text::${type}, 1, 'other')`,
        [one, other],
      )
    }
    const source = connectSource(postgres.url)
    const names = Object.keys(KEYS).map((name) => ({ schema: 'public', name }))
    const { tables, refusedTables } = await prepareSource(source, { slot: 'keys', tables: names })
    expect(refusedTables).toEqual([])
    const found = new Map<string, unknown>()
    for (const table of tables) {
      const values = KEYS[table.name]?.slice(1) ?? []
      for (const value of values) {
        const { tuples } = await readRows(source, table, [JSON.stringify(['1', value])])
        found.set(`${table.name} ${value}`, tuples)
      }
      const both = await readRows(
        source,
        table,
        values.map((value) => JSON.stringify(['1', value])),
      )
      expect(both.tuples, table.name).toHaveLength(2)
    }
    await source.end()
    const wanted = Object.entries(KEYS).flatMap(([name, [, one, other]]): [string, unknown][] => [
      [`${name} ${one}`, [[one, '1', 'one']]],
      [`${name} ${other}`, [[other, '1', 'other']]],
    ])
    expect(found).toEqual(new Map(wanted))
  })

  test('reading by key calls no function of a domain, which the owner of a table controls', async () => {
    const sql = postgres.sql()
    await sql
      .unsafe(
        `create table spied (by text, value text);
        create function spy(v text) returns boolean language plpgsql as $$ begin insert into public.spied values (current_user, v); return true; end $$;
        create domain inner_key as varchar(20) check (public.spy(value::text));
        create domain outer_key as inner_key;
        create type pair as (a inner_key, b int);
        create table plain_domain (k outer_key primary key, v int);
        create table domains (k inner_key[] primary key, v int);
        create table pairs (k pair primary key, v int);
        insert into plain_domain values ('one', 1), ('two', 2);
        insert into domains values ('{one,two}', 1), ('{three}', 2);
        insert into pairs values ('(one,1)', 1), ('(two,2)', 2)`,
      )
      .simple()
    const wrote = async () => (await sql`select * from spied`).length
    expect(await wrote()).toBeGreaterThan(0)
    await sql`truncate spied`
    const source = connectSource(postgres.url)
    const tables = ['plain_domain', 'domains', 'pairs'].map((name) => ({ schema: 'public', name }))
    const prepared = await prepareSource(source, { slot: 'spied', tables })
    const read = async (name: string, key: string) => {
      const table = prepared.tables.find((each) => each.name === name)
      if (!table) throw new Error(`${name} is not followed`)
      return (await readRows(source, table, [JSON.stringify([key])])).tuples
    }
    expect(await read('plain_domain', 'two')).toEqual([['two', '2']])
    expect(await read('domains', '{one,two}')).toEqual([['{one,two}', '1']])
    expect(await read('pairs', '(two,2)')).toEqual([['(two,2)', '2']])
    await source.end()
    expect(await wrote()).toBe(0)
  })

  test('keys are read without values that are stored out of line, whose number shows in the size', async () => {
    const sql = postgres.sql()
    await sql`create table large (a text, n int, b int, primary key (b, a))`
    await sql`alter table large alter column a set storage external`
    await sql`insert into large values ('x', 1, 2), (repeat('y', 2000), 3, 4)`
    await sql`create table small (id int primary key, v text)`
    const source = connectSource(postgres.url)
    const { tables } = await prepareSource(source, { slot: 'large', tables: [{ schema: 'public', name: 'large' }] })
    const [table] = tables
    if (!table) throw new Error('it is not followed')
    const keys = [
      ['2', 'x'],
      ['4', 'y'.repeat(2_000)],
      ['4', 'y'],
    ].map((key) => JSON.stringify(key))
    expect((await readRows(source, table, keys, 'keys')).tuples).toEqual([
      ['x', null, '2'],
      ['y'.repeat(2_000), null, '4'],
    ])
    await sql`alter table large add column body text`
    await sql`alter table large alter column body set storage external`
    await sql`update large set body = repeat('z', 1000000)`
    const { blocks, outOfLine } = await relationSize(source, table)
    expect([blocks, outOfLine > 200]).toEqual([1, true])
    const [{ oid } = { oid: 0 }] = await sql<{ oid: number }[]>`select 'small'::regclass::oid::int as oid`
    expect(await relationSize(source, { ...table, oid })).toMatchObject({ blocks: 0, outOfLine: 0 })
    await source.end()
  })
})
