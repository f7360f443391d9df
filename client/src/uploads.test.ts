import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openSync } from './node.ts'
import { TestService, unsigned, type Answer } from './test-service.ts'
import type { NodeSyncOptions, SyncDatabase } from './types.ts'

// What an answer to an upload decides, and what the backend receives. The sync service accepts connections and stays
// silent.

let service: TestService
let directory: string
let db: SyncDatabase

const schema = { tables: { todos: { columns: { title: 'text', n: 'integer' } } } } as const

async function open(options: Partial<NodeSyncOptions> = {}): Promise<SyncDatabase> {
  db = await openSync({
    url: service.url,
    uploadUrl: `${service.url}/upload`,
    schema,
    path: join(directory, 'client.db'),
    auth: () => unsigned('alice'),
    user: 'alice',
    ...options,
  })
  return db
}

beforeEach(async () => {
  service = await TestService.start()
  directory = mkdtempSync(join(tmpdir(), 'rockpool-client-'))
})
afterEach(async () => {
  await db.close()
  await service.close()
  rmSync(directory, { recursive: true, force: true })
})

const add = (id: string, n: number | bigint = 1) =>
  db.write((tx) => tx.execute('INSERT INTO todos (id, title, n) VALUES (?, ?, ?)', [id, `title of ${id}`, n]))
const ids = async () => (await db.query<{ id: string }>('SELECT id FROM todos ORDER BY id')).map(({ id }) => id)
const eventually = { timeout: 20_000 }

const NOT_A_VERDICT: [string, Answer][] = [
  ['a redirect to a login page', { status: 302, location: '/login' }],
  ['a page that answers every path', { type: 'text/html', body: '<!doctype html>' }],
  ['200 that is HTML and says it is JSON', { body: '<html>' }],
  ['200 without a body', { body: '' }],
  ['200 with an error', { body: '{"error":{"code":"nope","message":"nope"}}' }],
  ['404 of a deploy, as HTML', { status: 404, type: 'text/html', body: 'not found' }],
  ['404 of a router, as JSON', { status: 404, body: '{"message":"no route"}' }],
  ['404 of the sync service', { status: 404, body: '{"error":{"code":"PSYNC_S2002","description":"no route"}}' }],
  ['403 of a firewall', { status: 403, type: 'text/html', body: '{"error":{"code":"x"}}' }],
  ['413', { status: 413, type: 'text/html', body: 'too large' }],
  ['429 with a code', { status: 429, body: '{"error":{"code":"slow","message":"slow down"}}' }],
  ['503 with a code', { status: 503, body: '{"error":{"code":"down","message":"later"}}' }],
]

test.each(NOT_A_VERDICT)(
  '%s decides nothing: it is reported, and the write stays and is sent again',
  async (_, answer) => {
    service.upload = ({ path }) => (path === '/login' ? { type: 'text/html', body: 'sign in' } : answer)
    await open()
    await add('a')
    await add('b')
    await expect.poll(() => db.status.upload?.error.code, eventually).toMatch(/^(upload_answer|network|auth)$/)
    expect(await ids()).toEqual(['a', 'b'])
    expect(db.status).toMatchObject({ pendingWrites: 2, failedWrites: 0 })
    service.upload = () => ({ status: 201, type: 'application/json; charset=utf-8', body: '{"stored":1}' })
    await db.connect()
    await expect.poll(() => db.status.pendingWrites, eventually).toBe(0)
    await expect.poll(() => db.status.upload, eventually).toBe(null)
  },
)

test('4xx with error.code is a verdict, and the write can be sent again as a new transaction', async () => {
  service.upload = () => ({ status: 422, body: '{"error":{"code":"full","message":"the list is full"}}' })
  await open()
  await add('a')
  await expect.poll(() => db.status.failedWrites, eventually).toBe(1)
  expect(await ids()).toEqual([])
  const [failed] = await db.failedWrites()
  expect(failed).toMatchObject({ transactionId: 1, error: { code: 'full', message: 'the list is full' } })
  service.upload = () => ({ body: '{}' })
  await db.retryFailedWrite(1)
  expect(await ids()).toEqual(['a'])
  await expect
    .poll(() => db.status, eventually)
    .toMatchObject({ pendingWrites: 0, failedWrites: 0, unconfirmedWrites: 1 })
  expect(service.posts.map(({ body }) => JSON.parse(body).transaction_id)).toEqual([1, 2])
})

const BIG = 9_007_199_254_740_993n

test('64-bit integers arrive exactly, also after a rejection', async () => {
  service.upload = () => ({ status: 409, body: '{"error":{"code":"no","message":"no"}}' })
  await open()
  await add('a', BIG)
  await add('b', -9_223_372_036_854_775_808n)
  await expect.poll(() => db.status.failedWrites, eventually).toBe(2)
  const failed = await db.failedWrites()
  expect(failed.map(({ ops }) => ops[0]?.data?.n)).toEqual([BIG, -9_223_372_036_854_775_808n])
  service.upload = () => ({ body: '{}' })
  await db.retryFailedWrite(1)
  await expect.poll(() => db.status.pendingWrites, eventually).toBe(0)
  const last = service.posts.at(-1)?.body
  expect(last).toContain('"n":9007199254740993}')
  expect(service.posts[1]?.body).toContain('"n":-9223372036854775808}')
  expect((await db.query<{ n: bigint }>('SELECT n FROM todos'))[0]?.n).toBe(BIG)
})

test('an uploader of the application gets them as bigints', async () => {
  const seen: unknown[] = []
  await open({
    upload: async ({ ops }) => {
      seen.push(ops[0]?.data)
      return { result: 'accepted' }
    },
  })
  await add('a', BIG)
  await expect.poll(() => seen, eventually).toEqual([{ title: 'title of a', n: BIG }])
})

test('a client that writes faster than it uploads is confirmed meanwhile: write checkpoints are requested while more waits', async () => {
  await open({ connect: false })
  for (let n = 0; n < 130; n++) await add(`t${n}`)
  const before: number[] = []
  service.checkpoint = () => {
    before.push(service.posts.length)
    return { body: `{"data":{"write_checkpoint":"${before.length}"}}` }
  }
  await db.connect()
  await expect.poll(() => service.posts.length, eventually).toBe(130)
  await expect.poll(() => db.status.pendingWrites, eventually).toBe(0)
  await expect.poll(() => before.length, eventually).toBeGreaterThanOrEqual(2)
  expect(before[0]).toBeLessThan(130)
})

test('all requests share one token, and one is requested at a time', async () => {
  let asked = 0
  await open({
    connect: false,
    auth: async () => {
      asked++
      await new Promise((resolve) => setTimeout(resolve, 50))
      return unsigned('alice')
    },
  })
  for (let n = 0; n < 20; n++) await add(`t${n}`)
  await db.connect()
  await expect.poll(() => db.status.pendingWrites, eventually).toBe(0)
  await expect.poll(() => service.checkpoints.length, eventually).toBeGreaterThan(0)
  expect(asked).toBe(1)
})
