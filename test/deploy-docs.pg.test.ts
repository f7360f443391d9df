import { readFile, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { check } from '../cli/check.ts'
import { startEdge, type Edge } from './edge.ts'
import { startPostgres, type TestPostgres } from './postgres.ts'
import { statusOf } from './status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, until } from './support.ts'

// What docs/deploy.md says about the role, run as it is written, and a Rockpool with no more than that.

let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let postgres: TestPostgres
let edge: Edge | undefined

beforeAll(async () => {
  directory = await temporaryDirectory()
  postgres = await startPostgres()
})
afterAll(async () => {
  await edge?.dispose()
  await postgres?.stop()
  await directory?.remove()
})

async function blocks(language: string): Promise<string[]> {
  const text = await readFile(new URL('../docs/deploy.md', import.meta.url), 'utf8')
  const section = text.slice(text.indexOf('## Postgres'), text.indexOf('## The database URL'))
  return [...section.matchAll(/^```(\w*)\n([^]*?)^```$/gm)].flatMap(([, name, body]) => (name === language && body ? [body] : []))
}

test('the role of the documents suffices, and may do nothing else', async () => {
  const sql = postgres.sql()
  await sql.unsafe(`create table lists (id text primary key, name text); create table secrets (id text primary key);
    create table todos (id text primary key, list_id text, title text, done bool, owner_id text, shared bool, created_at timestamptz, notes text);
    insert into lists values ('l', 'x'); insert into todos values ('t', 'l', 'x', false, 'o', false, now(), 'private'); insert into secrets values ('s')`)
  const statements = await blocks('sql')
  expect(statements).toHaveLength(3)
  for (const statement of statements) {
    for (const each of statement.startsWith('DO') ? [statement] : statement.split(/;.*\n/))
      if (each.trim()) await sql.unsafe(each.replace('…', 'x'))
  }
  // The superuser is the test's own.
  const [hba = ''] = await blocks('')
  await postgres.write('pg_hba.conf', `${hba}host all postgres 127.0.0.1/32 scram-sha-256\n`)
  await sql`select pg_reload_conf()`
  const url = postgres.urlOf({ user: 'rockpool', password: 'x' })
  const yaml = 'bucket_definitions:\n  a:\n    data:\n      - SELECT id, name FROM lists\n      - SELECT id, title FROM todos\n'
  const file = `${directory.path}/config.yaml`
  await writeFile(file, yaml)
  process.env.PUBLICATION = 'rockpool'
  expect(await check([file, '--database-url', url], false)).toMatchObject({ ok: true })
  delete process.env.PUBLICATION

  const secret = newSecret()
  edge = await startEdge({
    ...{ databaseUrl: url, jwtSecret: secret, jwtAudience: AUDIENCE, syncConfig: yaml, directory: `${directory.path}/edge` },
    bindings: { PUBLICATION: 'rockpool', IDLE_POLL_SECONDS: '1', IDLE_POLL_MAX_SECONDS: '1' },
  })
  const { url: address } = edge
  const status = await until('the copy', async () => {
    const now = await statusOf(address, secret)
    return (now.state === 'live' || now.state === 'idle') && now.plan !== null && now
  })
  expect(status.refusedTables.filter(({ reason }) => !reason.includes('column list'))).toEqual([])
  const before = BigInt(status.checkpoint)
  await sql`insert into lists values ('m', 'y')`
  await until('the row', async () => BigInt((await statusOf(address, secret)).checkpoint) > before)

  const privileges =
    await sql`select has_table_privilege('rockpool', 'secrets', 'SELECT') as reads, has_table_privilege('rockpool', 'lists', 'INSERT') as writes,
    (select bool_or(has_function_privilege('public', oid, 'EXECUTE')) from pg_proc where proname = 'pg_logical_emit_message') as all_emit`
  expect(privileges).toEqual([{ reads: false, writes: false, all_emit: false }])
})
