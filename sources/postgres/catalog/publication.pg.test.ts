import type { Sql } from 'postgres'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { POSTGRES_VERSIONS, startPostgres, type TestPostgres } from '../../../test/support/postgres.ts'
import { connectSource, markerProblem, prepareSource, readSchema, slotProblem, unfollowable } from '../index.ts'

describe.each(POSTGRES_VERSIONS)('our own publication, Postgres %i', (version) => {
  let postgres: TestPostgres
  let source: Sql
  beforeAll(async () => {
    postgres = await startPostgres({}, { version })
    source = connectSource(postgres.url)
  })
  afterAll(async () => {
    await source?.end()
    await postgres?.stop()
  })

  const names = (...tables: string[]) => tables.map((name) => ({ schema: 'public', name }))
  const listed = async (): Promise<Record<string, string[] | null>> => {
    const rows = await postgres.sql()<{ name: string; columns: string[] | null }[]>`
      select c.relname as name, (select json_agg(a.attname order by a.attnum) from pg_attribute a where a.attrelid = c.oid and a.attnum = any (r.prattrs)) as columns
      from pg_publication_rel r join pg_publication p on p.oid = r.prpubid join pg_class c on c.oid = r.prrelid where p.pubname = 'rockpool'`
    return Object.fromEntries(rows.map(({ name, columns }) => [name, columns]))
  }

  test('names the columns that are read when it should, and replaces a list that lacks one in one transaction', async () => {
    await postgres.sql().unsafe(`
      create table files (id int primary key, name text, content bytea, twice int generated always as (id * 2) stored);
      create table whole (id int primary key, name text, identity text);
      alter table whole replica identity full;
      create table coded (id int primary key, code text not null unique, other text);
      alter table coded replica identity using index coded_code_key;
      create table parts (id int, year int, note text, other text, primary key (id, year)) partition by list (year);
      create table parts_1 partition of parts for values in (1)`)
    const tables = names('files', 'whole', 'coded', 'parts')
    const prepare = (read: string[], all = false) =>
      prepareSource(source, {
        slot: 's',
        tables,
        nameColumns: true,
        columns: () => ({ all, read: new Set(read), named: new Set() }),
      })
    await postgres.sql()`drop publication if exists rockpool`
    const first = await prepare(['name'])
    expect(await listed()).toEqual({ files: ['id', 'name'], whole: null, coded: ['code'], parts: null })
    expect(first.tables.map((table) => [table.name, table.columns.map(({ name }) => name)])).toEqual([
      ['coded', ['code']],
      ['files', ['id', 'name']],
      ['parts_1', ['id', 'year']],
      ['whole', ['id', 'name']],
    ])
    await postgres.sql()`alter table files add column note text`
    // What is too much is left.
    const fewer = await prepare([])
    expect(await listed()).toMatchObject({ files: ['id', 'name'] })
    const prints = ({ tables: found }: typeof first) =>
      Object.fromEntries(found.map(({ name, fingerprint }) => [name, fingerprint]))
    expect(Object.keys(prints(fewer)).filter((name) => prints(fewer)[name] !== prints(first)[name])).toEqual([])
    await prepare(['name', 'note'])
    expect(await listed()).toMatchObject({ files: ['id', 'name', 'note'] })
    // The table is another one for whoever compares fingerprints; the others are not.
    const more = await prepare(['name', 'content', 'note'])
    expect(await listed()).toMatchObject({ files: null, coded: ['code'] })
    expect(Object.keys(prints(more)).filter((name) => prints(more)[name] !== prints(first)[name])).toEqual(['files'])
    await prepare([], true)
    expect(await listed()).toMatchObject({ coded: null })
    for (const change of [
      'update files set name = name',
      'update whole set name = name',
      'update coded set other = other',
      'delete from parts',
    ]) {
      await postgres.sql().unsafe(change)
    }
    await postgres.sql()`drop publication rockpool`
    await prepareSource(source, {
      slot: 's',
      tables,
      columns: () => ({ all: false, read: new Set(), named: new Set() }),
    })
    expect(await listed()).toEqual({ files: null, whole: null, coded: null, parts: null })
    await postgres.sql()`drop publication rockpool`
  })

  test('a sync config is checked against columns with their types, keys, and what prevents following', async () => {
    await postgres.sql().unsafe(`
      create type mood as enum ('well');
      create table judged (a int, b uuid, c mood, d text[], e bytea, f varchar(3), g jsonb, primary key (b, a))`)
    const { tables } = await readSchema(source)
    expect(tables.find(({ name }) => name === 'judged')).toEqual({
      schema: 'public',
      name: 'judged',
      columns: ['a', 'b', 'c', 'd', 'e', 'f', 'g'],
      key: ['b', 'a'],
      types: {
        a: { name: 'int4', kind: 'number' },
        b: { name: 'uuid', kind: 'text' },
        c: { name: 'mood', kind: 'text' },
        e: { name: 'bytea', kind: 'bytes' },
        f: { name: 'varchar', kind: 'text' },
      },
    })
    const wanted = { all: false, read: new Set<string>(), named: new Set(['z']) }
    const found = await unfollowable(source, names('judged', 'none'), undefined, undefined, () => wanted)
    expect(
      found.map(({ table, missing, followed, reason }) => [table, missing, followed, reason.slice(0, 26)]),
    ).toEqual([
      ['public.none', true, false, 'there is no such table in '],
      ['public.judged', false, false, 'the sync config reads "z",'],
    ])
    expect([await slotProblem(source, 'judged'), await markerProblem(source)]).toEqual([null, null])
  })

  test('a missing name is reported with the name that may be meant, and nothing else is guessed', async () => {
    await postgres.sql().unsafe(`
      drop publication if exists rockpool; create schema app;
      create table meetings (id int primary key, owner_id int); create table app.elsewhere (id int primary key)`)
    const wanted = { all: false, read: new Set<string>(), named: new Set(['owner_ids']) }
    const given = names('meeting', 'elsewhere', 'unlike', 'meetings')
    const { refusedTables } = await prepareSource(source, { slot: 'meant', tables: given, columns: () => wanted })
    const kept =
      'Rows of it that were synced stay as they are until it exists, or until a sync config is deployed that does not name it'
    expect(refusedTables.map(({ reason }) => reason)).toEqual([
      `there is no such table in the database: did you mean public.meetings? ${kept}`,
      `there is no such table in the database: did you mean app.elsewhere? ${kept}`,
      `there is no such table in the database. ${kept}`,
      `the sync config reads "owner_ids", which it does not have: did you mean "owner_id"? ${kept}`,
    ])
    const found = await unfollowable(source, given, undefined)
    expect(found.map(({ reason }) => reason)).toEqual([
      'there is no such table in the database: did you mean public.meetings?',
      'there is no such table in the database: did you mean app.elsewhere?',
      'there is no such table in the database',
    ])
  })

  test('an extra table that we may not remove is reported and refuses nothing', async () => {
    await postgres.sql().unsafe(`
      drop publication if exists rockpool;
      create table followed (id int primary key); create table foreign_one (id int primary key);
      create publication rockpool for table followed, foreign_one;
      create role limited login replication password 'x'; grant select on followed to limited`)
    const limited = connectSource(postgres.urlOf({ user: 'limited', password: 'x' }))
    const prepared = await prepareSource(limited, { slot: 'limited', tables: names('followed') })
    await limited.end()
    expect(prepared.tables.map(({ name }) => name)).toEqual(['followed'])
    expect(prepared.unread).toEqual(['public.foreign_one'])
    // Whoever may, does.
    expect((await prepareSource(source, { slot: 'limited', tables: names('followed') })).unread).toEqual([])
    expect(Object.keys(await listed())).toEqual(['followed'])
  })
})
