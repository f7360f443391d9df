import { afterEach, beforeEach, expect, test } from 'vitest'
import { temporaryDirectory, until } from '../../../test/support/support.ts'
import { defineSchema, integer, local, table, text, type TypedSchema } from '../schema.ts'
import { TestService, unsigned, type ServerSocket } from '../test-service.ts'
import { createRockpool } from './node.ts'
import type { Rockpool } from './rockpool.ts'
import { sql } from './sql.ts'

// Tables of one device: nothing of them is uploaded, and nothing that happens to the others touches them.

const todos = table({ title: text() })
const schema = defineSchema({ todos, drafts: local({ body: text() }, { indexes: { by_body: ['body'] } }) })

let service: TestService
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
const closing: Rockpool<TypedSchema>[] = []

beforeEach(async () => {
  service = await TestService.start()
  directory = await temporaryDirectory(true)
})
afterEach(async () => {
  for (const db of closing.splice(0)) await db.close()
  await service.close()
  await directory.remove()
})

function open<S extends TypedSchema>(of: S, connect = false): Rockpool<S> {
  const db = createRockpool({
    schema: of,
    name: 'local',
    path: `${directory.path}/local.rockpool`,
    url: service.url,
    upload: `${service.url}/upload`,
    token: () => unsigned('alice'),
    connect,
  })
  closing.push(db as unknown as Rockpool<TypedSchema>)
  return db
}

test('its rows are written, followed and read like others, and never wait for an upload', async () => {
  const db = open(schema)
  const shown: string[][] = []
  db.live(sql<{ body: string }>`SELECT body FROM drafts ORDER BY body`).subscribe((rows) =>
    shown.push(rows.map(({ body }) => body)),
  )
  const written = await db.drafts.insert({ id: 'd', body: 'a' })
  await db.drafts.update('d', { body: 'b' })
  await db.write(async (tx) => {
    await tx.execute(sql`INSERT OR REPLACE INTO drafts (id, body) VALUES ('d', 'c')`)
    await tx.execute(sql`INSERT INTO drafts (id, body) VALUES ('e', 'd'), ('f', 'e')`)
    await tx.execute(sql`DELETE FROM drafts WHERE id = 'e'`)
  })
  expect(await written.confirmed).toEqual({ result: 'accepted' })
  expect(shown.at(-1)).toEqual(['c', 'e'])
  expect(shown).toContainEqual(['b'])
  expect(await db.drafts.get('d')).toEqual({ id: 'd', body: 'c' })
  expect(db.status.upload).toMatchObject({ pending: 0, unconfirmed: 0, failed: 0 })
})

test('of a transaction with both kinds of tables the others go out', async () => {
  const bodies: { transactions: { ops: { table: string }[] }[] }[] = []
  service.upload = ({ body }) => {
    const parsed: { transactions: { id: string; ops: { table: string }[] }[] } = JSON.parse(body)
    bodies.push(parsed)
    return { body: JSON.stringify({ verdicts: parsed.transactions.map(({ id }) => ({ id, result: 'accepted' })) }) }
  }
  const db = open(schema, true)
  await db.write(async (tx) => {
    await tx.tables.drafts.insert({ id: 'd', body: 'a' })
    await tx.tables.todos.insert({ id: 't', title: 'a' })
    await tx.tables.drafts.delete('d')
  })
  await until('the upload', async () => bodies.length > 0)
  expect(bodies.flatMap(({ transactions }) => transactions.flatMap(({ ops }) => ops.map((op) => op.table)))).toEqual([
    'todos',
  ])
})

test('what is rolled back is not there', async () => {
  const db = open(schema)
  await expect(
    db.write(async (tx) => {
      await tx.tables.drafts.insert({ id: 'd', body: 'a' })
      throw new Error('no')
    }),
  ).rejects.toThrow('no')
  expect(await db.query(sql`SELECT * FROM drafts`)).toEqual([])
})

test('a server that has rows of that name changes nothing in it', async () => {
  const connected = new Promise<ServerSocket>((resolve) => (service.connected = resolve))
  const db = open(schema, true)
  await db.drafts.insert({ id: 'd', body: 'mine' })
  const socket = await connected
  const op = {
    op_id: '1',
    op: 'PUT',
    object_type: 'drafts',
    object_id: 'd',
    subkey: '',
    checksum: 1,
    data: '{"body":"theirs"}',
  }
  const other = { ...op, op_id: '2', object_type: 'todos', object_id: 't', data: '{"title":"theirs"}' }
  const buckets = [{ bucket: 'b', checksum: 2, count: 2, priority: 3, subscriptions: [{ default: 0 }] }]
  socket.send({ checkpoint: { last_op_id: '2', buckets, streams: [{ name: 'all', is_default: true, errors: [] }] } })
  socket.send({ data: { bucket: 'b', after: '0', next_after: '2', has_more: false, data: [op, other] } })
  socket.send({ checkpoint_complete: { last_op_id: '2' } })
  await until('the row of the other table', async () => (await db.todos.get('t')) !== null)
  expect(await db.query(sql`SELECT * FROM drafts`)).toEqual([{ id: 'd', body: 'mine' }])
})

test('it outlives schemas without it, with more columns, and with other types', async () => {
  const first = open(schema)
  await first.drafts.insert({ id: 'd', body: '7' })
  await first.close()
  const without = open(defineSchema({ todos }))
  await without.todos.insert({ title: 'x' })
  await expect(without.batch([sql`DELETE FROM drafts`])).rejects.toThrow('no such table')
  await without.close()
  const more = open(defineSchema({ todos, drafts: local({ body: integer(), late: text().nullable() }) }))
  expect(await more.query(sql`SELECT * FROM drafts`)).toEqual([{ id: 'd', body: 7, late: null }])
  await more.drafts.update('d', { late: 'x' })
  expect(more.status.upload.pending).toBe(1)
})

test('a table is of one kind for ever', async () => {
  await open(schema).ready
  await closing[0]?.close()
  await expect(open(defineSchema({ todos, drafts: table({ body: text() }) })).ready).rejects.toMatchObject({
    code: 'table_kind',
  })
  await expect(open(defineSchema({ todos: local({ title: text() }) })).ready).rejects.toMatchObject({
    code: 'table_kind',
  })
})

test('an id is text', async () => {
  const db = open(schema)
  await expect(db.batch([sql`INSERT INTO drafts (id, body) VALUES (x'00', 'a')`])).rejects.toThrow('is text')
})
