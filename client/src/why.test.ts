import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { openSync, SignedOut } from './node.ts'
import { TestService, unsigned, type Answer, type ServerSocket } from './test-service.ts'
import type { NodeSyncOptions, Status, SyncDatabase } from './types.ts'

// What the status says when nothing arrives or leaves: the user is signed out, the device is offline, the address is
// wrong, what the server never sends.
// The file is long because every reason that a user is shown is played by one service.

let service: TestService
const opened: SyncDatabase[] = []
const eventually = { timeout: 20_000 }
const schema = { tables: { todos: { columns: { title: 'text' } } } } as const

async function open(options: Partial<NodeSyncOptions> = {}): Promise<SyncDatabase> {
  const db = await openSync({
    url: service.url,
    schema,
    path: ':memory:',
    auth: () => unsigned('alice'),
    user: 'alice',
    ...options,
  })
  opened.push(db)
  return db
}

/** Records every state from now on. */
function states(db: SyncDatabase): Status['state'][] {
  const seen: Status['state'][] = [db.status.state]
  db.on('status', ({ state }) => void seen.push(state))
  return seen
}

beforeEach(async () => {
  service = await TestService.start()
  service.connected = answer
  stored = [...whole]
})
afterEach(async () => {
  vi.restoreAllMocks()
  for (const db of opened.splice(0)) await db.close()
  await service.close()
})

type Line = object
const put = (op: number, table: string, row: Record<string, unknown>): Line => ({
  op_id: String(op),
  op: 'PUT',
  object_type: table,
  object_id: `row ${op}`,
  subkey: 'x',
  data: JSON.stringify(row),
  checksum: 1,
})

const whole = [put(1, 'todos', { title: 'Lemons' })]
/** The rows of the server, in one bucket. */
let stored: Line[] = []

/** A whole checkpoint, for a client that has this many of its rows. */
function lines(after: number): Line[] {
  const count = stored.length
  const buckets = [{ bucket: 'b', checksum: count, count, priority: 3, subscriptions: [] }]
  return [
    { checkpoint: { last_op_id: String(count), buckets, streams: [] } },
    {
      data: {
        bucket: 'b',
        after: String(after),
        next_after: String(count),
        has_more: false,
        data: stored.slice(after),
      },
    },
    { checkpoint_complete: { last_op_id: String(count) } },
  ]
}

/** Returns how much of the bucket a client has, by its request. */
function answer(socket: ServerSocket): void {
  const after = /"after":"(\d+)"/.exec(JSON.stringify(socket.frames[0]))?.[1]
  for (const line of lines(Number(after ?? 0))) socket.send(line)
}

function add(row: Line): void {
  stored.push(row)
  for (const line of lines(stored.length - 1)) service.sockets.at(-1)?.send(line)
}

const fault = (error: Error) => () => {
  throw error
}

test('an error of auth is not a sign-out: it is reported as a network problem, with the time of the next attempt', async () => {
  let auth = fault(new TypeError('Failed to fetch'))
  const db = await open({ auth: () => auth() ?? unsigned('alice') })
  const seen = states(db)
  await expect.poll(() => db.status.state, eventually).toBe('error')
  expect(db.status).toMatchObject({ error: { code: 'network', message: 'auth() failed: Failed to fetch' } })
  expect(db.status).toHaveProperty('retryAt', expect.any(Number))
  auth = () => undefined as never
  await expect.poll(() => db.status.state, eventually).toBe('live')
  expect(seen).not.toContain('needs-auth')
})

test('SignedOut of auth is a sign-out', async () => {
  const db = await open({ auth: fault(new SignedOut()) })
  await expect.poll(() => db.status, eventually).toMatchObject({ state: 'needs-auth', error: { code: 'signed_out' } })
  const said = await open({ auth: fault(new SignedOut('the session is over')) })
  await expect
    .poll(() => said.status, eventually)
    .toMatchObject({ error: { code: 'signed_out', message: 'the session is over' } })
})

test.each([
  ['a page instead of a token', '<!doctype html>'],
  ['a token of nobody', unsigned('')],
])('%s is not a sign-out, and is reported', async (_, token) => {
  const db = await open({ auth: () => token })
  await expect.poll(() => db.status, eventually).toMatchObject({ state: 'error', error: { code: 'token' } })
})

const expired = { error: { code: 'PSYNC_S2103', message: 'the token has expired' } }

test('a token that the server refuses is replaced first; when the next one is refused too, the user must sign in', async () => {
  let refusals = 1
  service.connected = (socket) => {
    if (refusals-- > 0) {
      socket.send(expired)
      return socket.close(4401)
    }
    answer(socket)
  }
  let asked = 0
  const db = await open({ auth: () => (asked++, unsigned('alice')) })
  const seen = states(db)
  await expect.poll(() => db.status.state, eventually).toBe('live')
  expect([asked, seen.includes('needs-auth')]).toEqual([2, false])
  refusals = 2
  service.sockets.at(-1)?.close(1011)
  await expect.poll(() => db.status, eventually).toMatchObject({ state: 'needs-auth', error: { code: 'PSYNC_S2103' } })
})

test('while auth fails to renew a token the stream continues, and an expired token is not a sign-out either', async () => {
  let asked = 0
  const db = await open({
    auth: () => {
      if (asked++ > 0) throw new TypeError('Failed to fetch')
      return unsigned('alice')
    },
  })
  await expect.poll(() => db.status.state, eventually).toBe('live')
  const seen = states(db)
  service.sockets[0]?.send({ token_expires_in: 20 })
  await expect.poll(() => asked, eventually).toBeGreaterThan(2)
  expect([...new Set(seen)]).toEqual(['live'])
  service.sockets[0]?.send(expired)
  service.sockets[0]?.close(4401)
  await expect.poll(() => db.status, eventually).toMatchObject({ state: 'error', error: { code: 'network' } })
  expect(seen).not.toContain('needs-auth')
})

test('a failing upload is reported with its attempts and the next one, and on the console once for each outage', async () => {
  const warned = vi.spyOn(console, 'warn').mockImplementation(() => {})
  const down: Answer = { status: 500, body: '{"error":{"code":"down","message":"duplicate key"}}' }
  service.upload = () => down
  const db = await open({ uploadUrl: `${service.url}/upload` })
  await expect.poll(() => db.status.state, eventually).toBe('live')
  expect(db.status.upload).toBeNull()
  await db.write((tx) => tx.execute("INSERT INTO todos (id) VALUES ('a')"))
  await expect.poll(() => db.status.upload?.attempts, eventually).toBe(3)
  const error = { code: 'upload_answer', message: 'the upload was answered 500, which decides nothing: duplicate key' }
  expect(db.status).toMatchObject({ state: 'live', pendingWrites: 1, upload: { error } })
  const left = (db.status.upload?.retryAt ?? 0) - Date.now()
  expect(left).toBeGreaterThan(0)
  expect(left).toBeLessThan(30_000)
  expect(warned.mock.calls).toEqual([[`rockpool: an upload failed and is tried again: ${error.message}`]])

  // Asking for an attempt does not begin another outage.
  await db.connect()
  await expect.poll(() => db.status.upload?.attempts, eventually).toBe(1)
  expect(warned).toHaveBeenCalledTimes(1)
  service.upload = () => ({ body: '{}' })
  await db.connect()
  await expect.poll(() => db.status, eventually).toMatchObject({ pendingWrites: 0, upload: null })
  service.upload = () => down
  await db.write((tx) => tx.execute("INSERT INTO todos (id) VALUES ('b')"))
  await expect.poll(() => db.status.upload?.attempts, eventually).toBe(1)
  expect(warned).toHaveBeenCalledTimes(2)
})

test('going offline removes the announced attempt', async () => {
  vi.spyOn(console, 'warn').mockImplementation(() => {})
  service.upload = () => ({ status: 500 })
  const db = await open({ uploadUrl: `${service.url}/upload` })
  await db.write((tx) => tx.execute("INSERT INTO todos (id) VALUES ('a')"))
  await expect.poll(() => db.status.upload?.attempts, eventually).toBe(1)
  await db.disconnect()
  expect(db.status).toMatchObject({ state: 'offline', pendingWrites: 1, upload: null })
})

const ready = { body: '{"data":{"started":true,"ready":true}}' }
test.each<[string, Answer, string, RegExp]>([
  [
    'another server',
    { status: 404, type: 'text/html', body: '<h1>no</h1>' },
    'url',
    /is answered 404 \(text\/html\) and is no Rockpool: is `url` right\?/,
  ],
  [
    'an app that answers every path',
    { type: 'text/html', body: '<!doctype html>' },
    'url',
    /answered 200 \(text\/html\) and is no Rockpool/,
  ],
  ['JSON of somebody else', { body: '{"ok":true}' }, 'url', /answered 200 \(application\/json\) and is no Rockpool/],
  ['somebody who has had too much', { status: 429 }, 'network', /is answered 429/],
  ['a gateway without a server', { status: 502, type: 'text/html', body: 'bad gateway' }, 'network', /is answered 502/],
  ['a Rockpool behind a proxy that knows no WebSockets', ready, 'network', /answers, but not this WebSocket/],
])('%s is reported as such', async (_, answer, code, words) => {
  service.withoutSockets = true
  service.page = (path) => (path === '/probes/liveness' ? answer : { status: 404 })
  const db = await open()
  await expect.poll(() => db.status, eventually).toMatchObject({ state: 'error', error: { code } })
  const message = db.status.state === 'error' ? db.status.error.message : ''
  expect(message).toMatch(words)
  expect(message).toContain(`${service.url}/sync/stream could not be opened`)
})

test('an unreachable server is reported as such', async () => {
  await service.close()
  const db = await open()
  await expect.poll(() => db.status, eventually).toMatchObject({ state: 'error', error: { code: 'network' } })
  const message = db.status.state === 'error' ? db.status.error.message : ''
  expect(message).toBe(`${service.url}/sync/stream could not be opened: nobody answers: is \`url\` right?`)
  service = await TestService.start()
})

test('a device without a network says so, and sends no request', async () => {
  service.withoutSockets = true
  const asked = vi.spyOn(globalThis, 'fetch')
  vi.stubGlobal('navigator', { onLine: false })
  const db = await open()
  await expect.poll(() => db.status, eventually).toMatchObject({ state: 'error', error: { code: 'network' } })
  vi.unstubAllGlobals()
  expect(db.status).toMatchObject({
    error: { message: `${service.url}/sync/stream could not be opened: this device has no network` },
  })
  expect(asked).not.toHaveBeenCalled()
})

test('a server that accepts the request and does not answer is given up after five seconds', async () => {
  service.withoutSockets = true
  const late = new AbortController()
  const limit = vi.spyOn(AbortSignal, 'timeout').mockReturnValue(late.signal)
  service.page = () => {
    late.abort()
    return { body: 'too late' }
  }
  const db = await open()
  await expect
    .poll(() => db.status, eventually)
    .toMatchObject({ error: { code: 'network', message: expect.stringContaining('nobody answers') } })
  expect(limit.mock.calls[0]).toEqual([5_000])
})

test('disconnect does not wait for the probe that finds out why', async () => {
  service.withoutSockets = true
  const asked = Promise.withResolvers<void>()
  vi.spyOn(globalThis, 'fetch').mockImplementation((_, init) => {
    asked.resolve()
    return new Promise((__, failed) => init?.signal?.addEventListener('abort', () => failed(new Error('aborted'))))
  })
  const db = await open()
  await asked.promise
  await db.disconnect()
  expect(db.status.state).toBe('offline')
})

const wide = {
  tables: {
    todos: { columns: { title: 'text', note: 'text', createdAt: 'text', n: 'integer' } },
    comments: { columns: { body: 'text' } },
  },
} as const

test('columns and tables of the schema that never arrive are reported once, and no longer when they arrive', async () => {
  const warned = vi.spyOn(console, 'warn').mockImplementation(() => {})
  stored = [
    put(1, 'todos', { title: 'a', note: null, created_at: 'x' }),
    put(2, 'todos', { title: 'b', note: null, n: null }),
  ]
  const db = await open({ schema: wide })
  expect(db.status.unsynced).toEqual([])
  await expect.poll(() => db.status.state, eventually).toBe('live')
  // A column that is NULL in every row is synced, and so is one that only some rows have.
  expect(db.status.unsynced).toEqual(['todos.createdAt', 'comments'])
  const columns =
    'rockpool: no row from the server has todos.createdAt: does a query of the sync config select it, by this name?'
  const tables = 'rockpool: no row of comments has come from the server: it is empty, or in no query of the sync config'
  expect(warned.mock.calls).toEqual([[columns], [tables]])

  // Each problem is reported once.
  service.sockets[0]?.close(1011)
  await expect.poll(() => service.sockets.length, eventually).toBe(2)
  await expect.poll(() => db.status.state, eventually).toBe('live')
  add(put(3, 'comments', { text: 'hello' }))
  await expect.poll(() => db.status.unsynced, eventually).toEqual(['todos.createdAt', 'comments.body'])
  expect(warned.mock.calls.slice(2)).toEqual([[columns.replace('todos.createdAt', 'comments.body')]])
  add(put(4, 'todos', { createdAt: 'x' }))
  await expect
    .poll(() => db.query("SELECT 1 FROM todos WHERE id = 'row 4'").then((found) => found.length), eventually)
    .toBe(1)
  service.sockets[1]?.close(1011)
  await expect.poll(() => db.status.unsynced, eventually).toEqual(['comments.body'])
  expect(warned).toHaveBeenCalledTimes(3)
})

test('nothing is reported as missing before a whole checkpoint has arrived', async () => {
  service.connected = (socket) =>
    lines(0)
      .slice(0, 2)
      .forEach((line) => socket.send(line))
  const db = await open({ schema: wide })
  await expect.poll(() => db.status.state, eventually).toBe('syncing')
  expect(db.status.unsynced).toEqual([])
})
