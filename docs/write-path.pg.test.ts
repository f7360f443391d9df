import { spawn, type ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createRockpool } from '@rockpool/client/node'
import { boolean, defineSchema, table, text as textColumn } from '@rockpool/client/schema'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { ROOT } from '../cli/bundle.ts'
import { readAnswer } from '../client/src/core/outbox/answer.ts'
import { TestService } from '../client/src/test-service.ts'
import { freePort, startPostgres, type TestPostgres } from '../test/support/postgres.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../test/support/support.ts'

// Runs the backend of docs/write-path.md as it stands there, and tries what the contract says about it. The file is
// long because it has the contract, line by line.

const page = await readFile(new URL('./write-path.md', import.meta.url), 'utf8')
const FILES = new Map(
  [...page.matchAll(/^\*\*`([\w.-]+)`\*\*\n\n```\w+\n([^]*?)^```$/gm)].map(([, name = '', body = '']) => [name, body]),
)
const [REQUEST = '', ANSWER = '', SHORT_ANSWER = ''] = [...page.matchAll(/^```json\n([^]*?)^```$/gm)].map(
  ([, body = '']) => body,
)
const commandOf = (part: string): string =>
  [...page.matchAll(/^```\w+\n([^]*?)^```$/gm)].map(([, body = '']) => body).find((body) => body.startsWith(part)) ??
  expect.fail(`the page has no command ${part}`)

const secret = newSecret()
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let postgres: TestPostgres
const children: ChildProcess[] = []
let url: string

beforeAll(async () => {
  directory = await temporaryDirectory(true)
  postgres = await startPostgres()
  await postgres.sql()`CREATE TABLE notes (id uuid PRIMARY KEY, owner_id text NOT NULL,
    title text NOT NULL CHECK (length(title) < 20), done boolean NOT NULL)`
  for (const [name, body] of FILES) await writeFile(join(directory.path, name), body)
  await symlink(join(ROOT, 'node_modules'), join(directory.path, 'node_modules'))
  await postgres.sql().unsafe(FILES.get('tables.sql') ?? '')
  url = await start(postgres.url)
})
beforeEach(async () => void (await postgres.sql()`TRUNCATE notes, upload_verdicts, upload_clients`))
afterAll(async () => {
  for (const child of children) child.kill()
  await postgres?.stop()
  await directory?.remove()
})

async function start(databaseUrl: string): Promise<string> {
  const port = await freePort()
  const child = spawn(process.execPath, ['server.mjs'], {
    cwd: directory.path,
    env: {
      ...process.env,
      DATABASE_URL: databaseUrl,
      JWT_SECRET: secret,
      JWT_AUDIENCE: AUDIENCE,
      PORT: String(port),
    },
    stdio: ['ignore', 'pipe', process.env.ROCKPOOL_LOG ? 'inherit' : 'ignore'],
  })
  children.push(child)
  let output = ''
  child.stdout.on('data', (bytes: Buffer) => (output += bytes.toString()))
  await until('the backend', async () => output.includes('http://'), 30)
  return output.trim()
}

interface Answered {
  status: number
  results: string[]
  body: { verdicts: Record<string, unknown>[]; reopen: string[] }
}

/** What comes back, in the form that a client takes. */
async function post(request: object, { user = 'ann', to = url } = {}): Promise<Answered> {
  const response = await fetch(to, {
    method: 'POST',
    headers: { authorization: `Bearer ${await token(secret, user)}`, 'content-type': 'application/json' },
    body: JSON.stringify(request),
  })
  const body = await response.text()
  const ids = ((request as { transactions?: { id: string }[] }).transactions ?? []).map(({ id }) => id)
  const contentType = response.headers.get('content-type') ?? ''
  const { status, redirected } = response
  if (status === 200)
    expect(readAnswer({ status, contentType, redirected, body, retryAfter: null }, ids).kind).toBe('decided')
  const json = JSON.parse(body) as Answered['body']
  const results = (json.verdicts ?? []).map(({ result, code }) => [result, code].filter(Boolean).join(' '))
  return { status, results, body: json }
}

const transaction = (seq: number, ...ops: object[]) => ({ id: randomUUID(), seq, ops })
const request = (answered: number, ...transactions: object[]) => ({ client_id: 'c', answered, transactions })
const put = (id: string, title: string) => ({ op: 'put', table: 'notes', id, data: { title, done: false } })
const patch = (id: string, data: object) => ({ op: 'patch', table: 'notes', id, data })
const stored = async (): Promise<string[]> =>
  (await postgres.sql()<{ title: string }[]>`SELECT title FROM notes ORDER BY title`).map(({ title }) => title)
const TOO_LONG = 'much longer than it may be'

test('the files of the page are those of examples/upload, and its messages are of the form that a client takes', async () => {
  for (const name of ['tables.sql', 'upload.mjs'])
    expect(FILES.get(name)).toBe(await readFile(join(ROOT, 'examples/upload', name), 'utf8'))
  const { transactions }: { transactions: { id: string }[] } = JSON.parse(REQUEST)
  const response = { status: 200, contentType: 'application/json', redirected: false, retryAfter: null }
  const answer = readAnswer(
    { ...response, body: ANSWER },
    transactions.map(({ id }) => id),
  )
  expect(answer).toMatchObject({ kind: 'decided', verdicts: { length: 3 } })
  // As it stands there: nothing is known of a client that was answered before.
  expect(await post(JSON.parse(REQUEST))).toMatchObject({ status: 200, results: ['client_reset'] })
})

test('the command of the page gets the answer of the page', async () => {
  const child = spawn('sh', ['-c', commandOf('curl')], {
    env: { ...process.env, URL: url, TOKEN: await token(secret, 'ann') },
  })
  let output = ''
  child.stdout.on('data', (bytes: Buffer) => (output += bytes.toString()))
  await new Promise((resolve) => child.once('close', resolve))
  expect(output).toBe(SHORT_ANSWER.trim())
  expect(await stored()).toEqual(['Lemons'])
})

test('a repeat has one effect and the same verdicts, also when both come at once, and after the row has gone', async () => {
  const all = Array.from({ length: 20 }, (_, n) => transaction(n + 1, put(randomUUID(), n === 7 ? TOO_LONG : `${n}`)))
  const answers = await Promise.all(Array.from({ length: 4 }, () => post(request(0, ...all))))
  for (const answer of answers) expect(answer).toEqual(answers[0])
  expect(answers[0]?.results).toEqual(all.map((_, n) => (n === 7 ? 'rejected constraint' : 'accepted')))
  expect((await stored()).length).toBe(19)
  await postgres.sql()`DELETE FROM notes`
  expect(await post(request(0, ...all))).toEqual(answers[0])
  expect(await stored()).toEqual([])
})

test('what was answered is forgotten, and its repeat is neither applied nor rejected', async () => {
  const [first, second] = [transaction(1, put(randomUUID(), 'first')), transaction(2, put(randomUUID(), 'second'))]
  await post(request(0, first))
  await post(request(1, second))
  const kept = await postgres.sql()`SELECT transaction_id AS id FROM upload_verdicts`
  expect(kept.map(({ id }) => id as string)).toEqual([second.id])
  await postgres.sql()`DELETE FROM notes`
  // A repeat that comes late says less than is known.
  expect((await post(request(0, first, second))).results).toEqual(['client_reset'])
  expect(await stored()).toEqual([])
  // Of this one nothing is known, and it was answered before: so it was forgotten.
  expect((await post({ ...request(1, second), client_id: 'd' })).results).toEqual(['client_reset'])
  expect((await post({ ...request(0, second), client_id: 'd' })).results).toEqual(['accepted'])
  expect(await post(request(9))).toMatchObject({ status: 200, results: [] })
})

test('what builds on a rejected transaction is rejected with it, until the client knows', async () => {
  const id = randomUUID()
  const all = [
    transaction(1, put(id, TOO_LONG)),
    transaction(2, put(randomUUID(), 'other')),
    transaction(3, patch(id, { done: true }), put(randomUUID(), 'beside')),
    transaction(4, patch(id, { title: 'x' })),
  ]
  expect((await post(request(0, ...all.slice(0, 2)))).results).toEqual(['rejected constraint', 'accepted'])
  // Also in another request, as long as `answered` does not say that the client knows.
  expect((await post(request(0, ...all.slice(2)))).results).toEqual(['rejected depends_on', 'rejected depends_on'])
  const again = { ...transaction(5, put(id, 'short')), retry_of: all[0]?.id }
  expect((await post(request(4, again, transaction(6, patch(id, { done: true }))))).results).toEqual([
    'accepted',
    'accepted',
  ])
  expect(await stored()).toEqual(['other', 'short'])
})

test('an operator may want a rejected transaction again, and is told of it until it is retried', async () => {
  const rejected = transaction(1, put(randomUUID(), TOO_LONG))
  await post(request(0, rejected))
  expect((await post(request(1))).body.reopen).toEqual([])
  await postgres.sql().unsafe(commandOf('UPDATE upload_verdicts'))
  for (let n = 0; n < 2; n++) expect((await post(request(1))).body.reopen).toEqual([rejected.id])
  expect((await post(request(1), { user: 'ben' })).body.reopen ?? []).toEqual([])
  const retried = { ...transaction(2, put(randomUUID(), 'short')), retry_of: rejected.id }
  expect((await post(request(1, retried))).body.reopen).toEqual([])
})

test('rights, columns and rows that are gone', async () => {
  const id = randomUUID()
  const one = async (user: string, seq: number, op: object) =>
    (await post({ ...request(0, transaction(seq, op)), client_id: randomUUID() }, { user })).results
  expect(await one('ann', 1, put(id, 'Mine'))).toEqual(['accepted'])
  expect(await one('ben', 1, put(id, 'His'))).toEqual(['rejected not_allowed'])
  expect(await one('ben', 1, patch(id, { title: 'His' }))).toEqual(['rejected not_found'])
  expect(await one('ben', 1, { op: 'delete', table: 'notes', id })).toEqual(['accepted'])
  expect(await one('ann', 1, patch(id, { owner_id: 'ben' }))).toEqual(['rejected column'])
  expect(await one('ann', 1, patch(id, { constructor: 'x' }))).toEqual(['rejected column'])
  expect(await one('ann', 1, { ...put(id, 'x'), table: 'upload_verdicts' })).toEqual(['rejected value'])
  expect(await one('ann', 1, put('no uuid', 'x'))).toEqual(['rejected value'])
  expect(await one('ann', 1, patch(id, { title: 'a\0b' }))).toEqual(['rejected value'])
  expect(await one('ann', 1, patch(id, { title: null }))).toEqual(['rejected constraint'])
  expect(await stored()).toEqual(['Mine'])
  const many = transaction(1, ...Array.from({ length: 1_001 }, () => patch(id, { done: true })))
  expect((await post(request(0, many))).results).toEqual(['rejected too_many_ops'])
  const used = transaction(2, put(randomUUID(), 'once'))
  expect((await post(request(0, used))).results).toEqual(['accepted'])
  expect((await post(request(0, { ...used, ops: [put(id, 'twice')] }))).results).toEqual(['rejected id_reused'])
})

test('a fault of the backend becomes no verdict, and nothing behind it is applied', async () => {
  const sql = postgres.sql()
  const all = [1, 2, 3].map((seq) => transaction(seq, put(randomUUID(), `${seq}`)))
  await sql`ALTER TABLE notes RENAME COLUMN title TO heading`
  expect((await post(request(0, ...all))).results).toEqual(['retry 42703'])
  await sql`ALTER TABLE notes RENAME COLUMN heading TO title`
  await sql`ALTER TABLE upload_verdicts ADD CONSTRAINT ours CHECK (seq < 2) NOT VALID`
  const answer = await post(request(0, ...all))
  await sql`ALTER TABLE upload_verdicts DROP CONSTRAINT ours`
  // The verdict could not be stored, so the effect is not there either.
  expect([answer.results, await stored()]).toEqual([['accepted', 'retry 23514'], ['1']])
  expect((await post(request(0, ...all))).results).toEqual(['accepted', 'accepted', 'accepted'])
  const nowhere = await start('postgres://a:b@127.0.0.1:1/none')
  expect((await post(request(0, ...all), { to: nowhere })).status).toBe(503)
})

test('what is no upload of a user decides nothing', async () => {
  const good = transaction(1, put(randomUUID(), 'x'))
  const forms: object[] = [
    [],
    {},
    { client_id: 'c', transaction_id: 7, ops: [] },
    { ...request(0), answered: -1 },
    { ...request(0), client_id: '' },
    { ...request(0), client_id: 'a\0b' },
    request(0, { ...good, id: '1' }),
    request(0, { ...good, seq: '1' }),
    request(0, { ...good, ops: null }),
    request(0, { ...good, ops: [{ ...put('x', 'y'), op: 'drop' }] }),
    request(0, { ...good, ops: [{ op: 'put', table: 'notes', id: 'x' }] }),
    request(0, ...Array.from({ length: 101 }, () => good)),
  ]
  for (const form of forms) expect([form, (await post(form)).status]).toEqual([form, 400])
  const raw = async (body: string, authorization: string) =>
    (await fetch(url, { method: 'POST', headers: { authorization }, body })).status
  const bearer = `Bearer ${await token(secret, 'ann')}`
  expect(await raw(JSON.stringify(request(0, good)), '')).toBe(401)
  expect(await raw(JSON.stringify(request(0, good)), `Bearer ${await token(newSecret(), 'ann')}`)).toBe(401)
  expect(await raw('{"client_id":', bearer)).toBe(400)
  expect(await raw(`"${'x'.repeat(2_100_000)}"`, bearer)).toBe(413)
  expect(await stored()).toEqual([])
})

test('the client and this backend: accepted, refused, retried, edited, reset', async () => {
  const service = await TestService.start()
  const schema = defineSchema({ notes: table({ title: textColumn(), done: boolean().default(false) }) })
  const db = createRockpool({
    schema,
    name: 'notes',
    path: ':memory:',
    url: service.url,
    user: 'ann',
    token: () => token(secret, 'ann'),
    upload: url,
  })
  const resets: object[] = []
  db.on('clientReset', (event) => resets.push(event))
  try {
    const good = await db.notes.insert({ title: 'good' })
    expect(await good.accepted).toEqual({ result: 'accepted' })
    const bad = await db.notes.insert({ title: TOO_LONG })
    await db.notes.update(bad.value, { done: true })
    expect(await bad.accepted).toMatchObject({ result: 'rejected', code: 'constraint' })
    await until('both refused', async () => (await db.failed.list()).length === 2, 10)
    expect((await db.failed.list()).map(({ code, dependsOn }) => [code, dependsOn])).toEqual([
      ['constraint', null],
      ['depends_on', bad.id],
    ])
    const [root, behind] = await db.failed.list()
    if (!root || !behind) throw new Error('they are gone')
    await db.failed.edit(root.id, [{ ...root.ops[0]!, data: JSON.stringify({ title: 'edited', done: false }) }])
    await db.failed.retry(behind.id)
    await until('the edit', async () => (await stored()).includes('edited'), 10)
    await until('nothing to send', async () => db.status.upload.pending === 0, 10)
    expect(await postgres.sql()`SELECT title, done FROM notes ORDER BY title`).toEqual([
      { title: 'edited', done: true },
      { title: 'good', done: false },
    ])
    expect(await db.failed.list()).toEqual([])

    // The backend has lost what it knew: what is unsent is new to it.
    await postgres.sql()`TRUNCATE upload_verdicts, upload_clients`
    const late = await db.notes.insert({ title: 'late' })
    await until('a reset', async () => resets.length === 1, 10)
    await until('the write', async () => (await stored()).includes('late'), 10)
    expect((await stored()).filter((title) => title === 'late').length).toBe(1)
    expect(await late.accepted).toEqual({ result: 'accepted' })
  } finally {
    await db.close()
    await service.close()
  }
})
