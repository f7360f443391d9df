import { existsSync } from 'node:fs'
import { afterEach, beforeEach, expect, expectTypeOf, test } from 'vitest'
import type { WireOp } from '../../../protocol/ops.ts'
import { temporaryDirectory, until } from '../../../test/support/support.ts'
import { openSync } from '../node.ts'
import { bigint, boolean, defineSchema, json, table, text, timestamp, type RowOf } from '../schema.ts'
import { TestService, unsigned, type ServerSocket } from '../test-service.ts'
import type { LiveChange } from './live-view.ts'
import { createRockpool } from './node.ts'
import type { Rockpool } from './rockpool.ts'
import { sql } from './sql.ts'

// The file is long because it is the interface of an application, a test for each call.

// What an application writes, against a service whose answers are up to the test.

const schema = defineSchema({
  lists: table({ name: text() }),
  todos: table(
    {
      list_id: text(),
      title: text(),
      done: boolean().default(false),
      due: timestamp().nullable(),
      labels: json<string[]>().nullable(),
      cents: bigint().nullable(),
    },
    { indexes: { by_list: ['list_id', 'due'] } },
  ),
  // A name that the database has itself.
  status: table({ text: text() }),
})
type Todo = RowOf<typeof schema, 'todos'>

let service: TestService
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let db: Rockpool<typeof schema>

beforeEach(async () => {
  service = await TestService.start()
  directory = await temporaryDirectory(true)
})
afterEach(async () => {
  await db.close()
  await service.close()
  await directory.remove()
})

function create(more: { connect?: boolean; user?: string } = {}): Rockpool<typeof schema> {
  db = createRockpool({
    schema,
    name: `${directory.path}/todos`,
    url: service.url,
    upload: `${service.url}/upload`,
    token: () => unsigned('alice'),
    connect: false,
    ...more,
  })
  return db
}

test('nothing is opened before it is used, and rows have the types of their columns', async () => {
  create()
  expect(db.status).toMatchObject({ state: 'opening', storage: { state: 'opening' } })
  expect(existsSync(`${directory.path}/todos.rockpool`)).toBe(false)
  const { value: id } = await db.todos.insert({
    list_id: 'l',
    title: 'Lemons',
    cents: 9007199254740993n,
    labels: ['a'],
  })
  const todo = await db.todos.get(id)
  expectTypeOf(todo).toEqualTypeOf<Todo | null>()
  expect(todo).toEqual({
    id,
    list_id: 'l',
    title: 'Lemons',
    done: false,
    due: null,
    labels: ['a'],
    cents: 9007199254740993n,
  })
  expect((await db.todos.update(id, { done: true, labels: null })).value).toBe(1)
  expect(await db.todos.get(id)).toMatchObject({ done: true, labels: null, title: 'Lemons' })
  expect((await db.todos.update('nobody', { done: true })).value).toBe(0)
  expect((await db.todos.delete(id)).value).toBe(1)
  expect(await db.todos.get(id)).toBeNull()
  expect(db.status.storage).toEqual({ kind: 'file', state: 'ok' })
  await db.tables.status.insert({ text: 'a table may be called like a member' })
  expect(db.status.state).toBe('offline')
})

test('a value that is none of its column, and a column that there is not, are refused', async () => {
  create()
  // @ts-expect-error A text is no boolean.
  await expect(db.todos.insert({ list_id: 'l', title: 't', done: 'true' })).rejects.toMatchObject({ code: 'value' })
  // @ts-expect-error The title is missing.
  await expect(db.todos.insert({ list_id: 'l' })).rejects.toMatchObject({ code: 'value' })
  // @ts-expect-error There is no such column.
  await expect(db.todos.update('a', { nothing: 1 })).rejects.toMatchObject({ code: 'value' })
  expect(await db.query(sql`SELECT * FROM todos`)).toEqual([])
})

test('SQL takes values as parameters, and decodes what columns of tables show', async () => {
  create()
  const { value } = await db.write(async (tx) => {
    const id = await tx.tables.todos.insert({ list_id: "l'; DROP TABLE todos", title: 'x', done: true })
    await tx.tables.todos.insert({ list_id: 'other', title: 'y' })
    const seen = await tx.query<{ n: number }>(sql`SELECT count(*) AS n FROM todos`)
    return { id, seen }
  })
  expect(value.seen).toEqual([{ n: 2 }])
  const list = "l'; DROP TABLE todos"
  const statement = sql<{
    title: string
    done: boolean
    most: number
  }>`SELECT title, done AS done, max(done) AS most FROM todos WHERE list_id = ${list}`
  expect(await db.query(statement)).toEqual([{ title: 'x', done: true, most: 1 }])
  expect(await db.query(statement, { decode: false })).toEqual([{ title: 'x', done: 1, most: 1 }])
  await expect(db.query(sql`DELETE FROM todos`)).rejects.toMatchObject({ code: 'statement' })
})

test('a live query keeps rows that have not changed, and names what has', async () => {
  create()
  const a = (await db.todos.insert({ list_id: 'l', title: 'A' })).value
  const b = (await db.todos.insert({ list_id: 'l', title: 'B' })).value
  const live = db.live(sql<Todo>`SELECT * FROM todos WHERE list_id = ${'l'} ORDER BY title`)
  expect(live.state).toBe('loading')
  const calls: { rows: readonly Todo[]; change: LiveChange }[] = []
  const end = live.subscribe((rows, change) => void calls.push({ rows, change }))
  await until('rows', async () => calls.length === 1)
  expect(calls[0]?.change).toEqual({ added: [a, b], updated: [], removed: [], moved: [] })
  await db.todos.update(a, { title: 'C' })
  // It has been told when the write resolves.
  expect(calls[1]?.change).toEqual({ added: [], updated: [a], removed: [], moved: [b, a] })
  expect(live.data[0]).toBe(calls[0]?.rows[1])
  expect(live.data.map(({ title, done }) => [title, done])).toEqual([
    ['B', false],
    ['C', false],
  ])
  await db.tables.lists.insert({ name: 'not concerned' })
  await db.todos.delete(b)
  expect(calls.length).toBe(3)
  expect(calls[2]?.change).toMatchObject({ removed: [b], added: [] })
  end()
  await db.todos.delete(a)
  expect(calls.length).toBe(3)
  const errors: string[] = []
  db.live(sql`SELECT nothing FROM todos`).subscribe(
    () => {},
    (error) => void errors.push(error.message),
  )
  await until('an error', async () => errors.length === 1)
  expect(errors[0]).toContain('nothing')
})

test('a list and its count never disagree', async () => {
  create()
  const list = db.live(sql<{ id: string }>`SELECT id FROM todos`)
  const count = db.live(sql<{ n: number }>`SELECT count(*) AS n FROM todos`)
  const seen: [number, number | undefined][] = []
  const look = (): void => void (count.data.length > 0 && seen.push([list.data.length, count.data[0]?.n]))
  list.subscribe(look)
  count.subscribe(look)
  await until('both', async () => seen.length > 0)
  for (const title of ['a', 'b', 'c']) await db.todos.insert({ list_id: 'l', title })
  expect(seen.at(-1)).toEqual([3, 3])
  expect(seen.filter(([rows, n]) => rows !== n)).toEqual([])
})

test('statements of a batch are one transaction, and an aborted write is not stored', async () => {
  create()
  const insert = (id: string) => sql`INSERT INTO lists (id, name) VALUES (${id}, 'x')`
  expect((await db.batch([insert('a'), insert('b'), sql`UPDATE lists SET name = 'y'`])).value).toEqual([1, 1, 2])
  await expect(db.batch([insert('c'), insert('a')])).rejects.toThrow('UNIQUE')
  const over = new AbortController()
  const aborted = db.write(
    async (tx) => {
      await tx.execute(insert('d'))
      over.abort(new Error('enough'))
    },
    { signal: over.signal },
  )
  await expect(aborted).rejects.toThrow('enough')
  expect(await db.query(sql`SELECT id FROM lists ORDER BY id`)).toEqual([{ id: 'a' }, { id: 'b' }])
  expect((await db.lists.update('a', {})).value).toBe(1)
  expect((await db.lists.update('nobody', {})).value).toBe(0)
})

test('a write survives the process, and its promises say what became of it', async () => {
  create()
  const { id, accepted } = await db.todos.insert({ list_id: 'l', title: 'offline' })
  await db.close()
  create({ connect: true })
  service.upload = ({ body }) => ({
    body: JSON.stringify({ verdicts: [{ id: JSON.parse(body).transactions[0].id, result: 'accepted' }] }),
  })
  void accepted
  const { accepted: later } = await db.transaction(id)
  expect(await later).toEqual({ result: 'accepted' })
  expect(service.posts.length).toBe(1)
})

test('a stream is synced when its rows are here', async () => {
  let socket: ServerSocket | undefined
  service.connected = (each) => void (socket = each)
  create({ connect: true })
  const items = db.stream('items', { list: 'l' }, { priority: 1 })
  const op: WireOp = {
    op_id: '1',
    op: 'PUT',
    object_type: 'lists',
    object_id: 'l',
    subkey: '',
    checksum: 1,
    data: '{"name":"L"}',
  }
  await until('the request', async () =>
    service.sockets.some(({ frames }) => JSON.stringify(frames).includes('"items"')),
  )
  let synced = false
  const waiting = items.synced({ timeout: 10_000 }).then(() => (synced = true))
  const streams = [{ name: 'items', is_default: false, errors: [] }]
  socket?.send({
    checkpoint: {
      last_op_id: '1',
      buckets: [{ bucket: 'b', checksum: 1, count: 1, priority: 1, subscriptions: [{ sub: 0 }] }],
      streams,
    },
  })
  expect(synced).toBe(false)
  socket?.send({ data: { bucket: 'b', after: '0', next_after: '1', has_more: false, data: [op] } })
  socket?.send({ partial_checkpoint_complete: { last_op_id: '1', priority: 1 } })
  await waiting
  expect(await db.lists.get('l')).toEqual({ id: 'l', name: 'L' })
  expect(db.status.state).not.toBe('live')
  socket?.send({ checkpoint_complete: { last_op_id: '1' } })
  await db.synced({ timeout: 10_000 })
  await expect(db.stream('other').synced({ timeout: 50 })).rejects.toMatchObject({ code: 'timeout' })
})

test('what is urgent can be waited for', async () => {
  let socket: ServerSocket | undefined
  service.connected = (each) => void (socket = each)
  create({ connect: true })
  const waited: number[] = []
  for (const priority of [1, 2]) void db.synced({ priority, timeout: 10_000 }).then(() => waited.push(priority))
  await until('a connection', async () => socket !== undefined)
  const entry = { checksum: 0, count: 0, subscriptions: [] }
  socket?.send({
    checkpoint: {
      last_op_id: '1',
      buckets: [
        { ...entry, bucket: 'a', priority: 1 },
        { ...entry, bucket: 'b', priority: 2 },
      ],
      streams: [],
    },
  })
  socket?.send({ partial_checkpoint_complete: { last_op_id: '1', priority: 1 } })
  await until('the urgent one', async () => waited.length === 1)
  expect(waited).toEqual([1])
  socket?.send({ checkpoint_complete: { last_op_id: '1' } })
  await until('the other one', async () => waited.length === 2)
})

test('a sign-out deletes the file, and nothing unsent unasked', async () => {
  create()
  await db.todos.insert({ list_id: 'l', title: 'unsent' })
  await expect(db.signOut()).rejects.toMatchObject({ code: 'unsent' })
  await expect(db.signOut({ unsent: 'wait', timeout: 50 })).rejects.toMatchObject({ code: 'timeout' })
  expect(await db.query(sql`SELECT title FROM todos`)).toEqual([{ title: 'unsent' }])
  await db.signOut({ unsent: 'discard' })
  expect(existsSync(`${directory.path}/todos.rockpool`)).toBe(false)
  expect(db.status.state).toBe('closed')
  await expect(db.query(sql`SELECT title FROM todos`)).rejects.toMatchObject({ code: 'closed' })
  create()
  expect(await db.query(sql`SELECT title FROM todos`)).toEqual([])
  await db.signOut()
  create()
  await db.todos.insert({ list_id: 'l', title: 'kept' })
  await db.signOut({ keepRows: true })
  create()
  expect(await db.query(sql`SELECT title FROM todos`)).toEqual([{ title: 'kept' }])
  await db.wipe()
  expect(existsSync(`${directory.path}/todos.rockpool`)).toBe(false)
})

test('a second process is told that the file is taken', async () => {
  create()
  await db.ready
  const other = createRockpool({
    schema,
    name: `${directory.path}/todos`,
    url: service.url,
    token: () => 'none',
    connect: false,
  })
  await expect(other.ready).rejects.toMatchObject({ code: 'storage_locked' })
})

test('a file of the client of today is moved, and deleted when the server has decided what was in it', async () => {
  const old = await openSync({
    url: service.url,
    schema: { tables: { todos: { columns: { list_id: 'text', title: 'text', done: 'boolean' } } } },
    name: `${directory.path}/todos`,
    auth: () => unsigned('alice'),
    user: 'alice',
    connect: false,
  })
  await old.write((tx) => tx.execute("INSERT INTO todos (id, list_id, title, done) VALUES ('a', 'l', 'unsent', 1)"))
  await old.close()
  create({ user: 'alice' })
  expect(await db.todos.get('a')).toMatchObject({ title: 'unsent', done: true })
  expect(db.status.upload.pending).toBe(1)
  await db.close()
  service.connected = (socket) => {
    socket.send({ checkpoint: { last_op_id: '0', buckets: [], streams: [] } })
    socket.send({ checkpoint_complete: { last_op_id: '0' } })
  }
  create({ connect: true, user: 'alice' })
  service.upload = ({ body }) => ({
    body: JSON.stringify({ verdicts: [{ id: JSON.parse(body).transactions[0].id, result: 'accepted' }] }),
  })
  await db.ready
  await until('the upload', async () => db.status.upload.pending === 0 && db.status.state === 'live')
  expect(existsSync(`${directory.path}/todos.db`)).toBe(true)
  await db.close()
  create({ user: 'alice' })
  expect(await db.todos.get('a')).toMatchObject({ title: 'unsent' })
  expect(existsSync(`${directory.path}/todos.db`)).toBe(false)
  expect(service.posts.length).toBe(1)
})

test('a sign-out leaves nothing of the old file either', async () => {
  const old = await openSync({
    url: service.url,
    schema: { tables: { todos: { columns: { list_id: 'text', title: 'text' } } } },
    name: `${directory.path}/todos`,
    auth: () => unsigned('alice'),
    user: 'alice',
    connect: false,
  })
  await old.write((tx) => tx.execute("INSERT INTO todos (id, title) VALUES ('a', 'of alice')"))
  await old.close()
  create({ user: 'alice' })
  await expect(db.signOut()).rejects.toMatchObject({ code: 'unsent' })
  await db.signOut({ unsent: 'discard' })
  create({ user: 'bob' })
  expect(await db.query(sql`SELECT id FROM todos`)).toEqual([])
})
