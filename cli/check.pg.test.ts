import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startPostgres, type TestPostgres } from '../test/postgres.ts'
import { check, explain } from './check.ts'

let directory: string
let postgres: TestPostgres

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'rockpool-check-'))
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

const config = (...queries: string[]) => `bucket_definitions:\n  a:\n    data:\n${queries.map((query) => `      - ${query}\n`).join('')}`

test('every mistake is shown with its line and a mark under it, and the file cannot be deployed', async () => {
  const path = await file(config('SELECT id FROM lists WHERE', 'SELECT id, count(*) FROM lists', 'SELECT id FROM lists'))
  const { output, ok } = await check([path], false)
  expect(ok).toBe(false)
  expect(output).toContain(`${path}:4:34\n4 |       - SELECT id FROM lists WHERE\n`)
  expect(output).toContain(`${path}:5:`)
  expect(output).toMatch(/\n {2}\| +\^+\n/)
  expect(output).toMatch(/[2-9] errors, \d warnings?$/)
  const json: { ok: boolean; findings: { place: { line: number } }[] } = JSON.parse((await check([path, '--json'], false)).output)
  expect(json.ok).toBe(false)
  expect(new Set(json.findings.map((finding) => finding.place.line))).toEqual(new Set([4, 5]))
})

test('with a database, names are compared with what is there, and tables that cannot be followed are told', async () => {
  const path = await file(config('SELECT id, nme FROM lists', 'SELECT id FROM list', 'SELECT id, line FROM logs'))
  const { output, ok } = await check([path, '--database-url', postgres.url], false)
  expect(ok).toBe(false)
  expect(output).toMatch(/error unknown-source-column: .*nme.*name/)
  expect(output).toMatch(/error unknown-source-table: .*list\b.*lists/)
  expect(output).toMatch(/\n2 errors, \d+ warnings?$/)
  expect(output).toContain('table public.logs cannot be followed: it has no primary key')
  await postgres.sql()`create role reader login replication password 'x'`
  await postgres.sql()`grant select on lists to reader`
  const reader = await check([path, '--database-url', postgres.url.replace('postgres:postgres@', 'reader:x@')], false)
  expect(reader.output).toContain('table public.lists cannot be followed: it is not in the publication rockpool')
  expect(output).not.toContain('public.lists cannot be followed')
  await expect(check([path, '--database-url', 'postgres://x@127.0.0.1:1/y'], false)).rejects.toThrow(/cannot be used/)
})

test('what the file names and the database has can be deployed, and the URL may stand in the environment', async () => {
  const path = await file(config('SELECT id, name FROM lists'))
  expect(await check([path, '--database-url', postgres.url], false)).toMatchObject({
    ok: true,
    output: expect.stringMatching(/^warning location/),
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

test('a right file, and what it means', async () => {
  const path = await file(
    'config:\n  edition: 3\nstreams:\n  tasks:\n    auto_subscribe: true\n    query: SELECT * FROM tasks WHERE team IN (SELECT team FROM members WHERE user_id = auth.user_id())\n',
  )
  process.env.LOCATION = 'weur'
  expect(await check([path], false)).toEqual({ ok: true, output: `${path} is right` })
  delete process.env.LOCATION
  const { output } = await explain([path], false)
  expect(output).toMatch(/lookup {2}L0\[user_id\]/)
  expect(output).toMatch(/a bucket for each result, 1 stage of lookups/)
  expect(output).toMatch(/rows +public\.tasks/)
  await expect(check([`${path}.none`], false)).rejects.toThrow(/there is no file/)
  await expect(check([], false)).rejects.toThrow(/name one file/)
})
