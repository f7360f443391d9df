import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Engine } from './core/engine.ts'
import { openSync } from './node.ts'
import { openNodeSqlite } from './node-sqlite.ts'
import type * as NodeSqlite from './node-sqlite.ts'
import { TestService, unsigned, type ServerSocket } from './test-service.ts'
import type { NodeSyncOptions, Status, SyncDatabase } from './types.ts'

// Connecting, downloading and what ends it, against a service that does what a test says, over a database that can be
// made to fail.
// The file is long because every way in which connecting fails is played by one service.

/** What the database returns for matching statements. */
const faults: { match: RegExp; errcode: number }[] = []

vi.mock('./node-sqlite.ts', async (original) => {
  const { openNodeSqlite } = await original<typeof NodeSqlite>()
  const failing =
    <T>(call: (sql: string, params?: readonly never[]) => T) =>
    (sql: string, params?: readonly never[]): T => {
      const fault = faults.find(({ match }) => match.test(sql))
      if (fault)
        throw Object.assign(new Error('as the test says'), { code: 'ERR_SQLITE_ERROR', errcode: fault.errcode })
      return call(sql, params)
    }
  return {
    openNodeSqlite: (path: string) => {
      const db = openNodeSqlite(path)
      return { ...db, all: failing(db.all), run: failing(db.run) }
    },
  }
})

const SQLITE_IOERR = 10
const SQLITE_CORRUPT = 11
const SQLITE_FULL = 13

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

beforeEach(async () => void (service = await TestService.start()))
afterEach(async () => {
  faults.length = 0
  for (const db of opened.splice(0)) await db.close()
  await service.close()
})

const put = (op: number, id: string, table = 'todos', row: object = { id, title: `title ${op}` }) => ({
  op_id: String(op),
  op: 'PUT',
  object_type: table,
  object_id: id,
  subkey: 'x',
  data: JSON.stringify(row),
  checksum: 1,
})
const checkpoint = (last: number, count: number, checksum = count) => ({
  checkpoint: {
    last_op_id: String(last),
    buckets: [{ bucket: 'b', checksum, count, priority: 3, subscriptions: [] }],
    streams: [],
  },
})
const diff = (last: number, count: number) => ({
  checkpoint_diff: {
    last_op_id: String(last),
    removed_buckets: [],
    updated_buckets: [{ bucket: 'b', checksum: count, count, priority: 3, subscriptions: [] }],
  },
})
const data = (...ops: ReturnType<typeof put>[]) => ({
  data: { bucket: 'b', after: '0', next_after: '0', has_more: false, data: ops },
})
const complete = (last: number) => ({ checkpoint_complete: { last_op_id: String(last) } })

function serve(socket: ServerSocket, rows: number): void {
  const ops = Array.from({ length: rows }, (_, n) => put(n + 1, `t${n + 1}`))
  for (const line of [checkpoint(rows, rows), data(...ops), complete(rows)]) socket.send(line)
}

test.each([
  ['auth() that never answers', { auth: () => new Promise<string>(() => {}) }],
  ['an upload that never answers', { upload: () => new Promise<never>(() => {}) }],
  ['a server that takes connections and says nothing', {}],
])('with %s, disconnect, connect and close complete', async (_, options) => {
  const db = await open(options)
  await db.write((tx) => tx.execute("INSERT INTO todos (id) VALUES ('a')"))
  await expect.poll(() => db.status.state, eventually).toBe('connecting')
  await db.disconnect()
  expect(db.status.state).toBe('offline')
  await db.connect()
  await db.close()
})

test('a backend that never answers is given up, reported, and asked again', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  try {
    let asked = 0
    const db = await open({
      upload: () => {
        asked++
        return new Promise<never>(() => {})
      },
    })
    await db.write((tx) => tx.execute("INSERT INTO todos (id) VALUES ('a')"))
    while (asked === 0) await vi.advanceTimersByTimeAsync(1)
    await vi.advanceTimersByTimeAsync(61_000)
    expect(asked).toBe(2)
    expect(db.status).toMatchObject({ pendingWrites: 1, upload: { error: { code: 'network' } } })
  } finally {
    vi.useRealTimers()
  }
})

test('a token that does not arrive is reported after half a minute as a network problem, and requested again', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  try {
    let asked = 0
    const db = await open({
      auth: () => {
        asked++
        return new Promise<string>(() => {})
      },
    })
    await vi.advanceTimersByTimeAsync(30_001)
    expect(db.status).toMatchObject({
      state: 'error',
      error: { code: 'network', message: 'auth() did not answer within 30 seconds' },
    })
    await vi.advanceTimersByTimeAsync(2_000)
    expect(asked).toBe(2)
  } finally {
    vi.useRealTimers()
  }
})

test('a database that cannot be read for a while does not end syncing for ever', async () => {
  vi.spyOn(console, 'error').mockImplementation(() => {})
  service.connected = (socket) => serve(socket, 3)
  const db = await open({ connect: false })
  faults.push({ match: /./, errcode: SQLITE_IOERR })
  await db.connect()
  await expect.poll(() => db.status, eventually).toMatchObject({ state: 'error', error: { code: 'storage' } })
  await db.disconnect()
  faults.length = 0
  await db.connect()
  await db.waitForSync({ timeout: 20_000 })
  expect(await db.query('SELECT count(*) AS n FROM todos')).toEqual([{ n: 3 }])
  vi.restoreAllMocks()
})

test.each([
  ['storage_full', SQLITE_FULL],
  ['storage_corrupt', SQLITE_CORRUPT],
])('a download that cannot be stored is reported as %s, not as a network problem', async (code, errcode) => {
  service.connected = (socket) => serve(socket, 3)
  const db = await open({ connect: false })
  faults.push({ match: /INSERT INTO rp_ops/, errcode })
  await db.connect()
  await expect.poll(() => db.status, eventually).toMatchObject({ state: 'error', error: { code } })
})

test('an upload whose answer cannot be stored is reported, and not repeated because of that', async () => {
  const db = await open({ uploadUrl: `${service.url}/upload` })
  faults.push({ match: /UPDATE rp_tx SET state = 'accepted'/, errcode: SQLITE_FULL })
  await db.write((tx) => tx.execute("INSERT INTO todos (id) VALUES ('a')"))
  await expect.poll(() => db.status.upload, eventually).toMatchObject({ error: { code: 'storage_full' } })
  faults.length = 0
  await db.connect()
  await expect.poll(() => db.status, eventually).toMatchObject({ pendingWrites: 0, unconfirmedWrites: 1, upload: null })
  expect(service.posts).toHaveLength(1)
})

test('a live client stays live during small checkpoints', async () => {
  service.connected = (socket) => serve(socket, 3)
  const db = await open()
  await db.waitForSync({ timeout: 20_000 })
  await expect.poll(() => db.status.state, eventually).toBe('live')
  // However slow the machine is.
  vi.spyOn(performance, 'now').mockReturnValue(performance.now())
  const states: Status['state'][] = []
  db.on('status', ({ state }) => void states.push(state))
  const [socket] = service.sockets
  for (let op = 4; op <= 13; op++)
    for (const line of [diff(op, op), data(put(op, `t${op}`)), complete(op)]) socket?.send(line)
  await expect.poll(() => db.query('SELECT count(*) AS n FROM todos'), eventually).toEqual([{ n: 13 }])
  expect([...new Set(states)]).toEqual(['live'])
  // And not while it gets a large one.
  const many = Array.from({ length: 2_000 }, (_, n) => put(n + 14, `m${n}`))
  for (const line of [diff(2_013, 2_013), data(...many), complete(2_013)]) socket?.send(line)
  await expect.poll(() => states.includes('syncing') && db.status.state, eventually).toBe('live')
  vi.restoreAllMocks()
})

test('a download that was cut continues where it was, and so does its progress', async () => {
  service.connected = (socket) => {
    socket.send(checkpoint(100, 100))
    socket.send(data(...Array.from({ length: 40 }, (_, n) => put(n + 1, `t${n + 1}`))))
  }
  const db = await open()
  const fractions = () => (db.status.state === 'syncing' ? db.status.progress : null)
  await expect.poll(fractions, eventually).toEqual({ downloaded: 40, total: 100, fraction: 0.4 })
  await db.disconnect()
  service.connected = (socket) => socket.send(checkpoint(100, 100))
  await db.connect()
  await expect.poll(fractions, eventually).toEqual({ downloaded: 40, total: 100, fraction: 0.4 })
  const [, second] = service.sockets
  expect(second?.frames[0]).toMatchObject({ open: { buckets: [{ name: 'b', after: '40' }] } })
})

test('a server that keeps saying "connect again" is asked at growing intervals', async () => {
  const pauses: number[] = []
  const timeout = globalThis.setTimeout
  vi.spyOn(globalThis, 'setTimeout').mockImplementation(((work: () => void, milliseconds = 0) => {
    // Only pauses use a random number.
    const pause = !Number.isInteger(milliseconds)
    if (pause) pauses.push(milliseconds)
    return timeout(work, pause ? 1 : milliseconds)
  }) as typeof setTimeout)
  service.connected = (socket) => socket.close(4503)
  const db = await open()
  await expect.poll(() => pauses.length >= 5, eventually).toBe(true)
  await db.close()
  vi.restoreAllMocks()
  expect(service.sockets.length).toBeGreaterThanOrEqual(5)
  for (const [n, pause] of pauses.slice(0, 5).entries()) {
    expect(pause).toBeGreaterThanOrEqual(50 * 2 ** n)
    expect(pause).toBeLessThanOrEqual(100 * 2 ** n)
  }
})

test('after the device has slept, a silent connection is replaced at once', async () => {
  service.connected = (socket) => serve(socket, 1)
  const db = await open()
  await db.waitForSync({ timeout: 20_000 })
  const now = Date.now
  vi.spyOn(Date, 'now').mockImplementation(() => now() + 3_600_000)
  await expect.poll(() => service.sockets.length, eventually).toBe(2)
  vi.restoreAllMocks()
})

test('waking up ends the pause before the next attempt', async () => {
  const timeout = globalThis.setTimeout
  // Pauses never end on their own here.
  vi.spyOn(globalThis, 'setTimeout').mockImplementation(((work: () => void, milliseconds = 0) =>
    Number.isInteger(milliseconds) ? timeout(work, milliseconds) : timeout(() => {}, 0)) as typeof setTimeout)
  const engine = new Engine(
    openNodeSqlite(':memory:'),
    { url: 'http://127.0.0.1:1', schema, auth: () => unsigned('alice') },
    { kind: 'memory' },
  )
  opened.push(engine)
  let attempts = 0
  engine.on('status', ({ state }) => void (state === 'error' && attempts++))
  for (let n = 1; n <= 3; n++) {
    await expect.poll(() => attempts, eventually).toBe(n)
    engine.wake()
  }
  vi.restoreAllMocks()
})

test('connecting during close leaves nothing running', async () => {
  const db = await open()
  await expect.poll(() => service.sockets.length, eventually).toBe(1)
  await Promise.allSettled([db.close(), db.connect()])
  expect(db.status.state).toBe('closed')
  await expect.poll(() => service.sockets.filter((socket) => socket.open).length, eventually).toBe(0)
})

test('a source table called constructor counts as missing in the schema', async () => {
  service.connected = (socket) => {
    const names = ['constructor', 'toString', '__proto__', 'todos']
    const ops = names.map((name, n) => put(n + 1, 'a', name))
    for (const line of [checkpoint(4, 4), data(...ops), complete(4)]) socket.send(line)
  }
  const db = await open()
  await db.waitForSync({ timeout: 20_000 })
  expect(await db.query('SELECT title FROM todos')).toEqual([{ title: 'title 4' }])
})

test('the progress of a comparison stays in the status across a requested reconnect, and goes when the server no longer sends it', async () => {
  service.connected = (socket) => {
    socket.send({ comparing: 0.25 })
    serve(socket, 1)
  }
  const db = await open()
  const told: (number | null | 'error')[] = []
  db.on('status', ({ state, comparing }) => {
    const said = state === 'error' ? state : comparing
    if (said !== told.at(-1)) told.push(said)
  })
  await expect.poll(() => db.status, eventually).toMatchObject({ state: 'live', comparing: 0.25 })
  service.sockets[0]?.send({ comparing: 0.5 })
  await expect.poll(() => db.status.comparing, eventually).toBe(0.5)

  // Its end falls between two connections; a server that does not know of it says nothing either.
  service.connected = (socket) => {
    for (const line of [checkpoint(1, 1), complete(1)]) socket.send(line)
  }
  service.sockets[0]?.close(4503)
  await expect.poll(() => service.sockets.length === 2 && db.status.comparing, eventually).toBeNull()
  expect(told).toEqual([0.25, 0.5, null])
  service.sockets[1]?.send({ comparing: 0 })
  await expect.poll(() => db.status.comparing, eventually).toBe(0)
  service.sockets[1]?.send({ comparing: null })
  await expect.poll(() => db.status.comparing, eventually).toBeNull()

  // Nothing says it any more.
  for (const end of [() => Promise.resolve(service.sockets[1]?.close(1011)), () => db.disconnect()]) {
    service.sockets.at(-1)?.send({ comparing: 0.75 })
    await expect.poll(() => db.status.comparing, eventually).toBe(0.75)
    await end()
    await expect.poll(() => db.status.comparing, eventually).toBeNull()
    if (db.status.state !== 'offline')
      await expect.poll(() => service.sockets.length === 3 && db.status.state, eventually).toBe('live')
  }
  expect(db.status).toMatchObject({ state: 'offline', comparing: null })
})
