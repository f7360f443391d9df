import { request } from 'node:http'
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startPostgres, type TestPostgres } from '../../test/support/postgres.ts'
import { newSecret, until } from '../../test/support/support.ts'
import { prepareDatabase } from './database.ts'
import { startExample } from './server.ts'
import { answerUpload, type Verdict } from '../upload/upload.mjs'
import { applyWrite } from './writes.ts'

const SHARED_LIST = '10000000-0000-4000-8000-000000000001'
const LEMONS = '20000000-0000-4000-8000-000000000004'
const BOBS_LIST = '10000000-0000-4000-8000-000000000003'
let postgres: TestPostgres
let example: Awaited<ReturnType<typeof startExample>>

beforeAll(async () => {
  postgres = await startPostgres()
  await prepareDatabase(postgres.url)
  const secret = newSecret()
  example = await startExample({
    port: 0,
    databaseUrl: postgres.url,
    jwtSecret: secret,
    jwtAudience: 'a',
    endpoint: 'http://127.0.0.1:1',
  })
})
afterAll(async () => {
  await example?.close()
  await postgres?.stop()
})

/** One transaction of a new device. Returns its verdict. */
async function upload(user: string, ...ops: unknown[]): Promise<Verdict> {
  const request = { client_id: randomUUID(), answered: 0, transactions: [{ id: randomUUID(), seq: 1, ops }] }
  const { body } = await answerUpload(postgres.sql(), user, request, (tx, op) => applyWrite(tx, user, op))
  const verdict = 'verdicts' in body ? body.verdicts[0] : undefined
  return verdict ?? expect.fail(JSON.stringify(body))
}

const list = (id: string, name: string, owner: string) => ({
  op: 'put',
  table: 'lists',
  id,
  data: { name, owner_id: owner },
})
const todo = (id: string, listId: string, title: string) => ({
  op: 'put',
  table: 'todos',
  id,
  data: { list_id: listId, title },
})

/** Bob has written the row and not committed when Alice looks for it; he commits while she waits for him. */
async function race(insert: string, alice: () => Promise<Verdict>): Promise<Verdict> {
  const bob = await postgres.sql().reserve()
  await bob`begin`
  await bob.unsafe(insert)
  const outcome = alice()
  await until('Alice to wait for Bob', async () => {
    const [row] =
      await postgres.sql()`select count(*)::int as n from pg_stat_activity where wait_event = 'transactionid'`
    return row?.n === 1
  })
  await bob`commit`
  bob.release()
  return outcome
}

describe('two people upload a row of the same id', () => {
  test('a list stays the one of whom it is', async () => {
    const id = randomUUID()
    const outcome = await race(`insert into lists (id, name, owner_id) values ('${id}', 'of Bob', 'bob')`, () =>
      upload('alice', list(id, 'of Alice', 'alice')),
    )
    expect(outcome).toMatchObject({ result: 'rejected', code: 'not_allowed' })
    expect(await postgres.sql()`select name, owner_id from lists where id = ${id}`).toEqual([
      { name: 'of Bob', owner_id: 'bob' },
    ])
  })

  test('a todo stays in the list of whom it is', async () => {
    const id = randomUUID()
    const outcome = await race(
      `insert into todos (id, list_id, title, owner_id) values ('${id}', '${BOBS_LIST}', 'of Bob', '')`,
      () => upload('alice', todo(id, SHARED_LIST, 'of Alice')),
    )
    expect(outcome).toMatchObject({ result: 'rejected', code: 'not_allowed' })
    expect(await postgres.sql()`select title, list_id::text from todos where id = ${id}`).toEqual([
      { title: 'of Bob', list_id: BOBS_LIST },
    ])
  })

  test('the same person may write it twice', async () => {
    const id = randomUUID()
    await upload('alice', list(id, 'one', 'alice'), todo(id, SHARED_LIST, 'a'))
    await upload('alice', list(id, 'two', 'alice'), todo(id, SHARED_LIST, 'b'))
    expect(await postgres.sql()`select name from lists where id = ${id}`).toEqual([{ name: 'two' }])
  })
})

describe('what can never be stored is rejected, with a code and the field', () => {
  test.each<[string, string, unknown, object]>([
    ['a todo without a title', 'alice', todo(randomUUID(), SHARED_LIST, ' '), { code: 'value', field: 'title' }],
    ['an id that is none', 'alice', todo('1', SHARED_LIST, 'a'), { code: 'value' }],
    ['another table', 'alice', { op: 'put', table: 'pg_class', id: randomUUID(), data: {} }, { code: 'value' }],
    [
      'a column that nobody may write',
      'alice',
      { op: 'patch', table: 'todos', id: LEMONS, data: { is_admin: true } },
      { code: 'column', field: 'is_admin' },
    ],
    [
      'a change of what has gone',
      'alice',
      { op: 'patch', table: 'todos', id: randomUUID(), data: { done: true } },
      { code: 'not_found' },
    ],
    ['a todo of a list that has gone', 'alice', todo(randomUUID(), randomUUID(), 'a'), { code: 'not_found' }],
    [
      'a list for somebody else',
      'alice',
      { op: 'patch', table: 'lists', id: BOBS_LIST, data: { name: 'mine' } },
      { code: 'not_allowed' },
    ],
    ['a todo of somebody else', 'bob', { op: 'delete', table: 'todos', id: LEMONS }, { code: 'not_allowed' }],
    [
      'text that Postgres cannot store',
      'alice',
      { op: 'patch', table: 'todos', id: LEMONS, data: { title: 'a\0b' } },
      { code: 'value' },
    ],
  ])('%s', async (_, user, op, why) => {
    expect(await upload(user, op)).toMatchObject({ result: 'rejected', message: expect.stringMatching(/./), ...why })
    expect(await postgres.sql()`select title, owner_id from todos where id = ${LEMONS}`).toEqual([
      { title: 'Lemons', owner_id: 'alice' },
    ])
  })

  test('a delete of what has gone is accepted: it is as wished', async () => {
    expect(await upload('alice', { op: 'delete', table: 'todos', id: randomUUID() })).toMatchObject({
      result: 'accepted',
    })
  })
})

/** `fetch` does not let `Host` be chosen. */
function get(
  path: string,
  host: string,
  method = 'GET',
): Promise<{ status: number; headers: Record<string, unknown>; body: string }> {
  return new Promise((resolve, reject) => {
    const { port } = new URL(example.url)
    const sent = request(
      { host: '127.0.0.1', port, path, method, headers: { host, 'content-type': 'application/json' } },
      (response) => {
        let body = ''
        response.on('data', (text: Buffer) => (body += text.toString()))
        response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }))
      },
    )
    sent.once('error', reject)
    sent.end(method === 'POST' ? '{"user": "alice"}' : undefined)
  })
}

describe('the server answers to its own names only', () => {
  test('a name that somebody else has given to this address gets no page and no token', async () => {
    const { port } = new URL(example.url)
    for (const host of [
      `attacker.example:${port}`,
      'attacker.example',
      `localhost.attacker.example:${port}`,
      '127.0.0.1:1',
      `127.0.0.1`,
    ]) {
      for (const [path, method] of [
        ['/', 'GET'],
        ['/api/token', 'POST'],
        ['/api/upload', 'POST'],
      ] as const) {
        const { status, body } = await get(path, host, method)
        expect([host, status, JSON.parse(body)]).toEqual([
          host,
          421,
          { error: { code: 'wrong_host', message: expect.any(String) } },
        ])
      }
    }
    for (const host of [`127.0.0.1:${port}`, `LOCALHOST:${port}`, `[::1]:${port}`]) {
      expect((await get('/', host)).status).toBe(200)
      expect((await get('/api/token', host, 'POST')).body).toMatch(/^\{"token":"ey/)
    }
  })

  test('what it sends is taken for what it is, and the page loads nothing from elsewhere', async () => {
    const { port } = new URL(example.url)
    for (const path of ['/', '/app.js', '/rockpool-worker.js', '/sqlite3.wasm', '/style.css', '/none']) {
      const { headers } = await get(path, `127.0.0.1:${port}`)
      expect([path, headers['x-content-type-options']]).toEqual([path, 'nosniff'])
      expect(headers['content-security-policy']).toMatch(
        /^default-src 'none'; .*connect-src 'self' http:\/\/127\.0\.0\.1:1 ws:\/\/127\.0\.0\.1:1;/,
      )
    }
  })
})
