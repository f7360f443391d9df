import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { freePort, startPostgres, type TestPostgres } from '../test/support/postgres.ts'
import { connectSource, prepareSource } from '../sources/postgres/index.ts'
import { PostgresServer, serverUser } from '../test/support/postgres-server.ts'
import { check, explain } from './check.ts'
import { startDatabase } from './database.ts'

// The file is long because its tests share one database.

let directory: string
let postgres: TestPostgres

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'rockpool-check-'))
  // Nobody's `rockpool dev` is asked.
  process.env.DATA = join(directory, 'data')
  postgres = await startPostgres()
  await postgres.sql()`create table lists (id int primary key, name text, owner_id text)`
  await postgres.sql()`create table logs (id int, line text)`
})
afterAll(async () => {
  await postgres?.stop()
  await rm(directory, { recursive: true, force: true })
})

async function file(text: string): Promise<string> {
  const path = join(directory, 'config.yaml')
  await writeFile(path, text)
  return path
}

const config = (...queries: string[]) =>
  `bucket_definitions:\n  a:\n    data:\n${queries.map((query) => `      - ${query}\n`).join('')}`

test('every mistake is shown with its line and a mark under it, and the file cannot be deployed', async () => {
  const path = await file(
    config('SELECT id FROM lists WHERE', 'SELECT id, count(*) FROM lists', 'SELECT id FROM lists'),
  )
  const { output, ok } = await check([path], false)
  expect(ok).toBe(false)
  expect(output).toContain(`${path}:4:34\n4 |       - SELECT id FROM lists WHERE\n`)
  expect(output).toContain(`${path}:5:`)
  expect(output).toMatch(/\n {2}\| +\^+\n/)
  expect(output).toMatch(/\n[2-9] errors, \d warnings?\n/)
  const json: { ok: boolean; findings: { place: { line: number } }[] } = JSON.parse(
    (await check([path, '--json'], false)).output,
  )
  expect(json.ok).toBe(false)
  expect(new Set(json.findings.map((finding) => finding.place.line))).toEqual(new Set([4, 5]))
})

test('with a database, names are compared with its tables, and tables that cannot be followed are reported', async () => {
  const path = await file(config('SELECT id, nme FROM lists', 'SELECT id FROM list', 'SELECT id, line FROM logs'))
  const { output, ok } = await check([path, '--database-url', postgres.url], false)
  expect(ok).toBe(false)
  expect(output).toMatch(/error unknown-source-column: .*nme.*name/)
  expect(output).toMatch(/error unknown-source-table: .*list\b.*lists/)
  expect(output).toMatch(/\n3 errors, \d+ warnings?$/)
  expect(output).toMatch(/error table public\.logs cannot be followed: it has no primary key/)
  expect(output).not.toContain('public.lists cannot be followed')
  await expect(check([path, '--database-url', 'postgres://x@127.0.0.1:1/y'], false)).rejects.toThrow(/cannot be used/)
})

test('a file that matches the database can be deployed, and the URL may be in the environment', async () => {
  const path = await file(config('SELECT id, name FROM lists'))
  expect(await check([path, '--database-url', postgres.url], false)).toMatchObject({
    ok: true,
    output: expect.stringMatching(
      /^warning location[^]*\n\ndatabase: Postgres \d+\.\d.*\ndatabase: 127\.0\.0\.1:\d+: plain text, here and on the edge\n\n0 errors/,
    ),
  })
  const unknown = await file(config('SELECT id FROM list'))
  expect((await check([unknown], false)).ok).toBe(true)
  process.env.DATABASE_URL = postgres.url
  try {
    expect((await check([unknown], false)).ok).toBe(false)
  } finally {
    delete process.env.DATABASE_URL
  }
})

test('the database of a rockpool dev that runs with the data folder is asked when none is named', async () => {
  const data = join(directory, 'dev')
  await chmod(directory, 0o755)
  const path = await file(config('SELECT id FROM things'))
  const database = await startDatabase(data)
  try {
    const missing = await check([path, '--data', data], false)
    expect(missing).toMatchObject({ ok: false, output: expect.stringMatching(/^error unknown-source-table: .*things/) })
    const sql = connectSource(database.url)
    await sql`create table public.things (id int primary key)`
    await sql.end()
    const found = await check([path, '--data', data], false)
    expect(found).toMatchObject({
      ok: true,
      output: expect.stringMatching(/\n\ntables and columns are those of the database of rockpool dev$/),
    })
    expect(JSON.parse((await check([path, '--data', data, '--json'], false)).output)).toMatchObject({
      ok: true,
      source: {
        problems: [],
        tables: [],
        about: [expect.stringMatching(/^Postgres \d/), expect.stringMatching(/plain text/)],
      },
    })
  } finally {
    await database.stop()
  }
  expect(await check([path, '--data', data], false)).toMatchObject({
    ok: true,
    output: expect.stringContaining('no database was asked'),
  })
})

test('a right file, and what it means', async () => {
  const path = await file(
    'config:\n  edition: 3\nstreams:\n  tasks:\n    auto_subscribe: true\n    query: SELECT * FROM tasks WHERE team IN (SELECT team FROM members WHERE user_id = auth.user_id())\n',
  )
  process.env.LOCATION = 'weur'
  expect(await check([path], false)).toEqual({
    ok: true,
    output: expect.stringMatching(/^\S+config\.yaml is right\n\nno database was asked, /),
  })
  delete process.env.LOCATION
  const { output } = await explain([path], false)
  expect(output).toMatch(/lookup {2}L0\[user_id\]/)
  expect(output).toMatch(/a bucket for each result, 1 stage of lookups/)
  expect(output).toMatch(/rows +public\.tasks/)
  await expect(check([`${path}.none`], false)).rejects.toThrow(/there is no file/)
  await expect(check([], false)).rejects.toThrow(/name one file: rockpool check /)
  await expect(explain([], false)).rejects.toThrow(/name one file: rockpool explain /)
})

describe('the advice of check helps: each printed statement is run until nothing is left to report', () => {
  const TABLES = ['issues', 'Odd Name', 'nokey', 'late', 'nothing', 'dust', 'hidden', 'parts']
  const queries = TABLES.map((name) => `      - ${JSON.stringify(`SELECT id, note FROM app."${name}"`)}\n`)
  const yaml = `config: {edition: 3}\nstreams:\n  all:\n    auto_subscribe: true\n    queries:\n${queries.join('')}`
  let path: string
  const url = () => postgres.urlOf({ user: 'edge%20role', password: 'x' })
  const asked = async () => {
    const { ok, output } = await check([path, '--database-url', url()], false)
    const statements = [...output.matchAll(/(?::|run) ((?:GRANT|ALTER|CREATE) [^\n]*)$/gm)].flatMap(([, each = '']) =>
      each.split('; '),
    )
    return { ok, output, statements }
  }
  const untilRight = async (): Promise<string[][]> => {
    const rounds: string[][] = []
    for (;;) {
      const { ok, output, statements } = await asked()
      if (ok) return rounds
      if (statements.length === 0 || rounds.length === 5) throw new Error(`it does not say what to do:\n${output}`)
      for (const statement of statements) await postgres.sql().unsafe(statement)
      rounds.push(statements)
    }
  }
  beforeAll(async () => {
    path = join(directory, 'app.yaml')
    await writeFile(path, yaml)
    await postgres.sql().unsafe(`
      create role "edge role" login password 'x'; create role owner; create schema app authorization owner; set role owner;
      create table app.issues (id int primary key, note text);
      create table app."Odd Name" (id int primary key, note text);
      create table app.nokey (id int, note text);
      create table app.late (id int primary key deferrable, note text);
      create table app.nothing (id int primary key, note text); alter table app.nothing replica identity nothing;
      create unlogged table app.dust (id int primary key, note text);
      create table app.hidden (id int primary key, note text); alter table app.hidden enable row level security;
      create table app.parts (id int primary key, note text) partition by range (id);
      create table app.parts_1 partition of app.parts for values from (0) to (10);
      reset role;
      revoke execute on function pg_logical_emit_message(boolean, text, text, boolean), pg_logical_emit_message(boolean, text, bytea, boolean) from public`)
  })
  afterEach(() => {
    delete process.env.PUBLICATION
    delete process.env.SLOT
  })

  /** How many tables the replicator itself would follow. */
  const followed = async (publication?: string) => {
    const source = connectSource(url())
    const tables = TABLES.map((name) => ({ schema: 'app', name }))
    try {
      const prepared = await prepareSource(source, {
        slot: 'edge',
        tables,
        ...(publication === undefined ? {} : { publication }),
      })
      expect(prepared.refusedTables).toEqual([])
      return prepared.tables.length
    } finally {
      await source.end()
      await postgres.sql()`select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = 'edge'`
    }
  }

  test('a role that may nothing: rights, keys, and a publication that it could not make', async () => {
    const rounds = await untilRight()
    expect(rounds[0]).toEqual(
      expect.arrayContaining([
        'ALTER ROLE "edge role" REPLICATION',
        'GRANT USAGE ON SCHEMA app TO "edge role"',
        'GRANT SELECT ON app."Odd Name" TO "edge role"',
        'GRANT EXECUTE ON FUNCTION pg_logical_emit_message(boolean,text,text,boolean) TO "edge role"',
      ]),
    )
    expect(rounds.flat().filter((statement) => statement.startsWith('CREATE PUBLICATION'))).toHaveLength(1)
    expect(await followed()).toBe(TABLES.length)
  })

  test('a publication of the settings: missing, without a table, without deletes, without a column', async () => {
    process.env.PUBLICATION = 'mine'
    expect((await untilRight()).flat()).toEqual([
      expect.stringMatching(/^CREATE PUBLICATION mine FOR TABLE app\."Odd Name", app\./),
    ])
    await postgres.sql()`alter publication mine drop table app.issues, app.parts`
    expect(await untilRight()).toEqual([['ALTER PUBLICATION mine ADD TABLE app.issues, app.parts']])
    await postgres.sql()`alter publication mine set (publish = 'insert, update')`
    expect(await untilRight()).toEqual([["ALTER PUBLICATION mine SET (publish = 'insert, update, delete, truncate')"]])
    expect(await followed('mine')).toBe(TABLES.length)
    await postgres.sql()`alter publication mine drop table app.issues`
    await postgres.sql()`alter publication mine add table app.issues (id)`
    const { ok, output } = await asked()
    expect([ok, output]).toEqual([
      true,
      expect.stringMatching(/warning table app\.issues cannot be followed whole: .* leaves out note/),
    ])
  })

  test('a publication of our name: it is not ours and lacks a table, or has all tables in it', async () => {
    await postgres.sql()`alter publication rockpool drop table app.issues`
    expect(await untilRight()).toEqual([['ALTER PUBLICATION rockpool ADD TABLE app.issues']])
    await postgres.sql().unsafe('drop publication rockpool; create publication rockpool for all tables')
    expect(await asked()).toMatchObject({
      ok: false,
      output: expect.stringMatching(/error database: .* FOR ALL TABLES/),
    })
    await postgres.sql()`drop publication rockpool`
  })

  test('a column that was renamed is an error once, at its place', async () => {
    await postgres.sql()`alter table app.issues rename column note to text`
    const { ok, output } = await asked()
    expect(ok).toBe(false)
    expect(output).toMatch(/error unknown-source-column: issues has no column note.*\n.*app\.yaml:6:/)
    expect(output).not.toContain('which it does not have')
    await postgres.sql()`alter table app.issues rename column text to note`
  })

  test('a slot that is not ours, and no free slot', async () => {
    await postgres.sql()`select pg_create_physical_replication_slot('rockpool')`
    expect((await asked()).output).toContain(
      'error database: the replication slot rockpool is not one of pgoutput: set SLOT to another name',
    )
    for (let n = 1; n < 10; n++) await postgres.sql()`select pg_create_physical_replication_slot(${`full_${n}`})`
    process.env.SLOT = 'other'
    expect((await asked()).output).toMatch(/error database: all 10 replication slots are in use: .*full_1 \(unused\)/)
    await postgres.sql()`select pg_drop_replication_slot(slot_name) from pg_replication_slots`
  })
})

test('a query without an id, and columns that are never equal, by the types of the database', async () => {
  await postgres.sql()`create table members (project_id int, user_id int, primary key (user_id, project_id))`
  const path = await file(
    'config: {edition: 3}\nstreams:\n  mine:\n    query: SELECT * FROM members WHERE user_id = auth.user_id()\n',
  )
  const { ok, output } = await check([path, '--database-url', postgres.url], false)
  expect(ok).toBe(false)
  expect(output).toMatch(/error id-missing: members has no column id, .*`\*, user_id \|\| '\/' \|\| project_id AS id`/)
  expect(output).toMatch(
    /warning never-equal: members\.user_id \(int4\) and the user id .* never equal: write user_id::text\./,
  )
})

test('wal_level, before and after it was changed, together with other problems', async () => {
  const server = new PostgresServer(18, join(directory, 'replica'), await serverUser())
  await chmod(directory, 0o755)
  await server.initialise('postgres')
  const port = await freePort()
  const settings = { listen_addresses: '127.0.0.1', unix_socket_directories: '' }
  await server.start(port, settings)
  const url = `postgres://postgres:postgres@127.0.0.1:${port}/postgres`
  const sql = connectSource(url)
  try {
    const path = await file(config('SELECT id FROM lists'))
    const output = async () => (await check([path, '--database-url', url], false)).output
    const wrong = 'error database: wal_level is replica, it must be logical:'
    expect(await output()).toContain(`${wrong} ALTER SYSTEM SET wal_level = logical, then restart Postgres`)
    expect(await output()).toMatch(/error unknown-source-table/)
    await sql`alter system set wal_level = logical`
    await sql`select pg_reload_conf()`
    await expect.poll(output).toContain(`${wrong} it was changed, and Postgres must be restarted`)
    await sql.end()
    await server.stop('SIGINT')
    await server.start(port, settings)
    expect(await output()).not.toContain('wal_level')
  } finally {
    await sql.end()
    await server.stop('SIGQUIT')
  }
})
