import { readFile, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { check } from '../../cli/check.ts'
import { startEdge, type Edge } from '../support/edge.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { statusOf } from '../support/status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, until } from '../support/support.ts'

// What docs/deploy.md says about the role, run as it is written, and a Rockpool with no more than that; then what
// docs/maintenance.md says about secrets and about the end.

let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let postgres: TestPostgres
let edge: Edge | undefined
const secret = newSecret()
const yaml =
  'bucket_definitions:\n  a:\n    data:\n      - SELECT id, name FROM lists\n      - SELECT id, title FROM todos\n'
const bindings = { PUBLICATION: 'rockpool', IDLE_POLL_SECONDS: '1', IDLE_POLL_MAX_SECONDS: '1' }

/** On the storage of the one before: a deploy. */
const start = (databaseUrl: string, jwtSecret: string, more: Record<string, string> = {}): Promise<Edge> =>
  startEdge({
    databaseUrl,
    jwtSecret,
    jwtAudience: AUDIENCE,
    syncConfig: yaml,
    directory: `${directory.path}/edge`,
    bindings: { ...bindings, ...more },
  })

beforeAll(async () => {
  directory = await temporaryDirectory()
  postgres = await startPostgres()
})
afterAll(async () => {
  await edge?.dispose()
  await postgres?.stop()
  await directory?.remove()
})

/** Code of a section of a document. */
async function blocks(
  language: string,
  file = 'deploy.md',
  from = '## Postgres',
  to: string | undefined = '## The database URL',
): Promise<string[]> {
  const text = await readFile(new URL(`../../docs/${file}`, import.meta.url), 'utf8')
  const section = text.slice(text.indexOf(from), to === undefined ? undefined : text.indexOf(to))
  return [...section.matchAll(/^```(\w*)\n([^]*?)^```$/gm)].flatMap(([, name, body]) =>
    name === language && body ? [body] : [],
  )
}

async function runAll(statements: readonly string[]): Promise<void> {
  for (const statement of statements) {
    for (const each of statement.startsWith('DO') ? [statement] : statement.split(/;.*\n/))
      if (each.trim()) await postgres.sql().unsafe(each.replace('…', 'x'))
  }
}

test('the role of the documents suffices, and may do nothing else', async () => {
  const sql = postgres.sql()
  await sql.unsafe(`create table lists (id text primary key, name text); create table secrets (id text primary key);
    create table todos (id text primary key, list_id text, title text, done bool, owner_id text, shared bool, created_at timestamptz, notes text);
    insert into lists values ('l', 'x'); insert into todos values ('t', 'l', 'x', false, 'o', false, now(), 'private'); insert into secrets values ('s')`)
  const statements = await blocks('sql')
  expect(statements).toHaveLength(3)
  await runAll(statements)
  // The superuser is the test's own.
  const [hba = ''] = await blocks('')
  await postgres.write('pg_hba.conf', `${hba}host all postgres 127.0.0.1/32 scram-sha-256\n`)
  await sql`select pg_reload_conf()`
  const url = postgres.urlOf({ user: 'rockpool', password: 'x' })
  const file = `${directory.path}/config.yaml`
  await writeFile(file, yaml)
  process.env.PUBLICATION = 'rockpool'
  expect(await check([file, '--database-url', url], false)).toMatchObject({ ok: true })
  delete process.env.PUBLICATION

  edge = await start(url, secret)
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

test('another password and another secret: everything continues, nothing is compared again', async () => {
  const sql = postgres.sql()
  if (!edge) throw new Error('it does not run')
  const { counts } = (await statusOf(edge.url, secret)).diagnostics
  const { url: address } = edge
  await sql`alter role rockpool password 'y'`
  const failed = await until(
    'the old password to be refused',
    async () => {
      const now = await statusOf(address, secret)
      return now.state === 'refused' && now
    },
    30,
    () => statusOf(address, secret),
  )
  expect(failed.error?.message).toContain('password authentication failed')
  await sql`insert into lists values ('o', 'z')`
  await edge.dispose()
  const other = newSecret()
  const keys = { JWT_KEYS: JSON.stringify({ keys: [{ kty: 'oct', k: other }] }) }
  edge = await start(postgres.urlOf({ user: 'rockpool', password: 'y' }), secret, keys)
  const { url } = edge
  const status = await until('the row', async () => {
    // Tokens of both secrets are taken.
    const [old, now] = [await statusOf(url, secret), await statusOf(url, other)]
    expect(old.plan).toEqual(now.plan)
    return BigInt(now.checkpoint) > BigInt(failed.checkpoint) && now
  })
  expect(status.diagnostics.counts.ROCKPOOL_RESYNC).toBe(counts.ROCKPOOL_RESYNC)
  await edge.dispose()
  edge = await start(postgres.urlOf({ user: 'rockpool', password: 'y' }), other)
  await expect(statusOf(edge.url, secret)).rejects.toThrow(/PSYNC_S2102|PSYNC_S2101/)
  expect((await statusOf(edge.url, other)).plan).toBe(status.plan)
})

test('the statements of the uninstallation leave nothing of Rockpool in the database', async () => {
  const sql = postgres.sql()
  await edge?.dispose()
  edge = undefined
  await until(
    'the slot to be free',
    async () => (await sql`select 1 from pg_replication_slots where active`).length === 0,
  )
  const statements = await blocks('sql', 'maintenance.md', '## Uninstalling', undefined)
  expect(statements).toHaveLength(2)
  await runAll([...statements, 'DROP ROLE rockpool;\n'])
  expect(await sql`select slot_name from pg_replication_slots`).toEqual([])
  expect(await sql`select pubname from pg_publication`).toEqual([])
  expect(
    await sql`select relname from pg_class where relkind in ('r', 'v') and relnamespace = 'public'::regnamespace order by 1`,
  ).toEqual(['lists', 'secrets', 'todos'].map((relname) => ({ relname })))
  expect(await sql`select tgname from pg_trigger where not tgisinternal`).toEqual([])
  const everybody = "bool_and(has_function_privilege('public', oid, 'EXECUTE'))"
  expect(
    await sql.unsafe(`select ${everybody} as emit from pg_proc where proname = 'pg_logical_emit_message'`),
  ).toEqual([{ emit: true }])
})
