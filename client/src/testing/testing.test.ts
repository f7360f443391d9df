import { afterEach, expect, expectTypeOf, test } from 'vitest'
import { sql } from '../api/sql.ts'
import type { Rockpool } from '../api/rockpool.ts'
import { bigint, boolean, defineSchema, json, table, text, type RowOf } from '../schema.ts'
import { createTestDatabase } from '../testing.ts'

const schema = defineSchema({
  todos: table({
    title: text(),
    done: boolean().default(false),
    labels: json<string[]>().nullable(),
    cents: bigint().nullable(),
  }),
})
type Todo = RowOf<typeof schema, 'todos'>
const LEMONS: Todo = { id: '1', title: 'Lemons', done: true, labels: ['a'], cents: 9007199254740993n }

let db: Rockpool<typeof schema>
afterEach(() => db.close())

function create(rows: Todo[] = []) {
  const made = createTestDatabase(schema, { rows: { todos: rows } })
  db = made.db
  return made.server
}

const all = () => db.query(sql<Todo>`SELECT * FROM todos ORDER BY id`)
const until = async (reached: () => boolean | Promise<boolean>): Promise<void> =>
  expect.poll(reached, { timeout: 5_000, interval: 5 }).toBe(true)

test('the rows of the server come, with every digit', async () => {
  const server = create([LEMONS])
  await db.synced({ timeout: 5_000 })
  expect(await all()).toEqual([LEMONS])
  expect(db.status).toMatchObject({ state: 'live', storage: { kind: 'memory', state: 'ok' } })
  expectTypeOf(server.rows('todos')).toEqualTypeOf<Todo[]>()
  expect(server.rows('todos')).toEqual([LEMONS])
})

test('what is written is accepted, confirmed, and there', async () => {
  const server = create([LEMONS])
  await db.synced({ timeout: 5_000 })
  const made = await db.todos.insert({ title: 'Bread', cents: 9007199254740995n, labels: ['x', 'y'] })
  await db.todos.update('1', { done: false })
  const gone = await db.write(async (tx) => {
    const id = await tx.tables.todos.insert({ title: 'for a moment' })
    await tx.tables.todos.delete(id)
  })
  expect(await made.accepted).toEqual({ result: 'accepted' })
  expect(await made.confirmed).toEqual({ result: 'accepted' })
  await gone.confirmed
  const bread = { id: made.value, title: 'Bread', done: false, labels: ['x', 'y'], cents: 9007199254740995n }
  await until(() => server.rows('todos').length === 2 && server.rows('todos')[1]?.done === false)
  expect(server.rows('todos')).toEqual([bread, { ...LEMONS, done: false }])
  await until(() => db.status.upload.pending + db.status.upload.unconfirmed === 0)
  expect(await all()).toEqual(server.rows('todos'))
  expect(server.accepted[0]).toMatchObject({ id: made.id, ops: [{ op: 'put', table: 'todos', id: made.value }] })
})

test('what is refused is rolled back and kept, and a retry may be accepted', async () => {
  const server = create()
  await db.synced({ timeout: 5_000 })
  server.refuse('not_allowed', 'not yours')
  const written = await db.todos.insert({ title: 'Bread' })
  expect(await written.accepted).toEqual({ result: 'rejected', code: 'not_allowed', message: 'not yours' })
  expect(await all()).toEqual([])
  expect(await db.failed.list()).toMatchObject([{ id: written.id, code: 'not_allowed' }])
  server.accept()
  await db.failed.retry(written.id)
  await until(() => server.rows('todos').length === 1)
  expect(server.accepted.map(({ retryOf }) => retryOf)).toEqual([written.id])
  await until(async () => (await db.failed.list()).length === 0)
})

test('offline everything waits, and comes when the server answers again', async () => {
  const server = create([LEMONS])
  await db.synced({ timeout: 5_000 })
  server.offline()
  await until(() => db.status.state === 'error')
  expect(db.status).toMatchObject({ error: { code: 'network' } })
  const written = await db.todos.insert({ title: 'Bread' })
  server.put('todos', { ...LEMONS, title: 'Limes' })
  await until(() => db.status.upload.pending === 1)
  expect((await all()).map(({ title }) => title).sort()).toEqual(['Bread', 'Lemons'])
  expect(server.accepted).toEqual([])
  server.accept()
  expect(await written.confirmed).toEqual({ result: 'accepted' })
  await until(() => db.status.state === 'live')
  expect((await all()).map(({ title }) => title).sort()).toEqual(['Bread', 'Limes'])
})

test('a database that begins offline opens all the same', async () => {
  const server = create([LEMONS])
  server.offline()
  expect(await all()).toEqual([])
  await expect(db.synced({ timeout: 50 })).rejects.toMatchObject({ code: 'timeout' })
  server.accept()
  await db.synced({ timeout: 5_000 })
  expect(await all()).toEqual([LEMONS])
})

test('others write and delete, live queries and streams follow', async () => {
  const server = create()
  const seen: string[] = []
  const end = db
    .live(sql<Todo>`SELECT * FROM todos ORDER BY id`)
    .subscribe((rows) => seen.push(rows.map(({ title }) => title).join()))
  await db.stream('mine').synced({ timeout: 5_000 })
  server.put('todos', LEMONS)
  await until(() => seen.at(-1) === 'Lemons')
  server.delete('todos', '1')
  await until(() => seen.at(-1) === '')
  server.delete('todos', '1')
  end()
  expect(server.rows('todos')).toEqual([])
})

test('a change of what the server does not have is refused, and rows that are none are told at once', async () => {
  const server = create([LEMONS])
  await db.synced({ timeout: 5_000 })
  server.offline()
  const late = await db.todos.update('1', { done: false })
  server.delete('todos', '1')
  server.accept()
  expect(await late.accepted).toMatchObject({ result: 'rejected', code: 'not_found' })
  await until(async () => (await all()).length === 0)
  // @ts-expect-error The title is no number.
  expect(() => server.put('todos', { ...LEMONS, title: 1 })).toThrow(/todos.title takes text/)
  // @ts-expect-error There is no such table.
  expect(() => server.put('lists', LEMONS)).toThrow(/there is no table lists/)
})

test('databases do not know of each other, and a sign-out is as anywhere', async () => {
  const server = create()
  const other = createTestDatabase(schema)
  server.offline()
  await db.todos.insert({ title: 'unsent' })
  expect(await other.db.query(sql`SELECT * FROM todos`)).toEqual([])
  await expect(db.signOut()).rejects.toMatchObject({ code: 'unsent' })
  await db.signOut({ unsent: 'discard' })
  expect(db.status.state).toBe('closed')
  await other.db.close()
})
