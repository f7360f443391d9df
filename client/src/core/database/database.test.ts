import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { BucketEntry, StreamRequest } from '../../../../protocol/lines.ts'
import type { WireOp } from '../../../../protocol/ops.ts'
import { until } from '../../../../test/support/support.ts'
import { nodeSqlite } from '../../sqlite/node.ts'
import { TestService, unsigned, type ServerSocket } from '../../test-service.ts'
import { responseOf } from '../outbox/sender.ts'
import { identify } from '../token.ts'
import { writeCheckpoint } from '../uploader.ts'
import { applyPatch, type RawRow } from '../live/patch.ts'
import { LocalDatabase, type DatabaseOptions } from './database.ts'
import type { DatabaseStatus } from './status.ts'

// The whole core over a real socket, against a service whose answers are up to the test.

let service: TestService
let db: LocalDatabase
let file: DatabaseSync
let token: string

const row = (op: number, id: string, body: string): WireOp => ({
  op_id: String(op),
  op: 'PUT',
  object_type: 'notes',
  object_id: id,
  subkey: '',
  checksum: op,
  data: JSON.stringify({ body }),
})
const bucket = (ops: readonly WireOp[], more: Partial<BucketEntry> = {}): BucketEntry => ({
  bucket: 'b',
  checksum: ops.reduce((sum, { checksum }) => sum + checksum, 0),
  count: ops.length,
  priority: 3,
  subscriptions: [{ default: 0 }],
  ...more,
})

/** Announces these ops and brings them. */
function bring(
  socket: ServerSocket,
  ops: WireOp[],
  more: { checkpoint?: object; bucket?: Partial<BucketEntry> } = {},
): void {
  const last_op_id = String(ops.at(-1)?.op_id ?? 0)
  socket.send({
    checkpoint: {
      last_op_id,
      buckets: [bucket(ops, more.bucket)],
      streams: [{ name: 'all', is_default: true, errors: [] }],
      ...more.checkpoint,
    },
  })
  socket.send({ data: { bucket: 'b', after: '0', next_after: last_op_id, has_more: false, data: ops } })
  socket.send({ checkpoint_complete: { last_op_id } })
}

function open(options: Partial<DatabaseOptions> = {}): LocalDatabase {
  db = new LocalDatabase({
    db: nodeSqlite(file),
    kind: 'file',
    flush: () => {},
    schema: { tables: { notes: { columns: { body: 'text' } } } },
    url: service.url,
    identify: () => identify({ auth: () => token }),
    post: async (body, given, signal) =>
      responseOf(
        await fetch(`${service.url}/upload`, {
          method: 'POST',
          body,
          signal,
          redirect: 'manual',
          headers: { authorization: `Bearer ${given}` },
        }),
      ),
    checkpoint: (client, given, signal) => writeCheckpoint({ url: service.url }, client, given, signal),
    ...options,
  })
  return db
}

beforeEach(async () => {
  service = await TestService.start()
  file = new DatabaseSync(':memory:')
  token = unsigned('alice')
})
afterEach(async () => {
  await db.close()
  await service.close()
})

const rows = async (): Promise<unknown[]> => (await db.query('SELECT id, body FROM notes ORDER BY id')).rows
const is = (state: DatabaseStatus['state']) => db.until((status) => status.state === state, { timeout: 10_000 })
const add = (id: string, body = 'mine') => db.write((tx) => tx.execute('INSERT INTO notes VALUES (?, ?)', [id, body]))
const acceptAll = (body: string): string => {
  const { transactions }: { transactions: { id: string }[] } = JSON.parse(body)
  return JSON.stringify({ verdicts: transactions.map(({ id }) => ({ id, result: 'accepted' })) })
}

test('rows come, are followed, and the status says how far it is', async () => {
  let socket: ServerSocket | undefined
  service.connected = (each) => void (socket = each)
  open()
  const states: string[] = []
  db.on('status', ({ state }) => void states.push(state))
  let held: RawRow[] = []
  db.follow('SELECT id FROM notes ORDER BY id', [], {
    patch: (patch, columns) => void (held = applyPatch(columns === null ? held : [], patch, (each) => each)),
    failed: () => {},
  })
  void db.connect()
  await until('a connection', async () => socket !== undefined)
  if (socket) bring(socket, [row(1, 'a', 'A'), row(2, 'b', 'B')])
  await is('live')
  expect(await rows()).toEqual([
    ['a', 'A'],
    ['b', 'B'],
  ])
  expect(held).toEqual([['a'], ['b']])
  expect(db.status).toMatchObject({
    state: 'live',
    storage: { kind: 'file', state: 'ok' },
    upload: { state: 'idle', pending: 0 },
    comparing: null,
  })
  expect(db.status.lastSyncedAt).toBeGreaterThan(0)
  expect(db.streams).toMatchObject([{ name: 'all', subscription: null, synced: true }])
})

test('a write is shown at once, uploaded, and its promises say what became of it, also after a reload', async () => {
  service.upload = ({ body }) => ({ body: acceptAll(body) })
  service.checkpoint = () => ({ body: '{"data":{"write_checkpoint":"5"}}' })
  const sockets: ServerSocket[] = []
  service.connected = (each) => {
    sockets.push(each)
    bring(each, [row(1, 'x', 'X')])
  }
  open()
  const written = await add('a')
  expect(await rows()).toEqual([['a', 'mine']])
  expect(db.status.upload).toMatchObject({ pending: 1, oldestUnsentAt: expect.any(Number) })
  void db.connect()
  expect(await written.accepted).toEqual({ result: 'accepted' })
  let confirmed = false
  void written.confirmed.then(() => (confirmed = true))
  await until('the write checkpoint to be asked for', async () => service.checkpoints.length > 0)
  await is('live')
  expect(confirmed).toBe(false)
  // A checkpoint that contains it.
  const [socket] = sockets
  if (socket)
    bring(socket, [row(1, 'x', 'X'), row(3, 'a', 'as the server has it')].slice(1), {
      checkpoint: { write_checkpoint: '5' },
      bucket: { checksum: 4, count: 2 },
    })
  expect(await written.confirmed).toEqual({ result: 'accepted' })
  expect(await rows()).toEqual([
    ['a', 'as the server has it'],
    ['x', 'X'],
  ])
  const later = await db.transaction(written.id)
  expect(await later.confirmed).toEqual({ result: 'accepted' })
  expect(await (await db.transaction('never')).accepted).toEqual({ result: 'unknown' })
})

test('a rejected write is rolled back, told, and can be sent again', async () => {
  service.upload = ({ body }) =>
    body.includes('"bad"')
      ? {
          body: JSON.stringify({
            verdicts: [
              { id: JSON.parse(body).transactions[0].id, result: 'rejected', code: 'not_allowed', message: 'no' },
            ],
          }),
        }
      : { body: acceptAll(body) }
  open()
  const told: string[] = []
  db.on('failed', (all) => void told.push(...all.map(({ code }) => code)))
  void db.connect()
  const written = await add('a', 'bad')
  expect(await written.accepted).toEqual({ result: 'rejected', code: 'not_allowed', message: 'no' })
  expect(await written.confirmed).toMatchObject({ result: 'rejected' })
  expect([await rows(), told]).toEqual([[], ['not_allowed']])
  expect(await db.failed()).toMatchObject([{ id: written.id }])
  const ops = [{ op: 'put' as const, table: 'notes', id: 'a', data: '{"body":"good"}', old: null }]
  const next = await db.edit(written.id, ops)
  expect(await rows()).toEqual([['a', 'good']])
  expect(await (await db.transaction(next ?? '')).accepted).toEqual({ result: 'accepted' })
  expect(await db.failed()).toEqual([])
  expect(service.posts.at(-1)?.body).toContain(`"retry_of":"${written.id}"`)
})

test('a stream that is opened is asked for at once, with the positions of what is here', async () => {
  service.connected = (each) => bring(each, [row(1, 'a', 'A')])
  open()
  void db.connect()
  await is('live')
  const stream = await db.stream({ name: 'items', parameters: { list: 'l' }, priority: 1, ttl: 60 })
  await until('another connection', async () => service.sockets.length === 2)
  await until('its request', async () => (service.sockets[1]?.frames.length ?? 0) > 0)
  const { open: request } = service.sockets[1]?.frames[0] as { open: StreamRequest }
  expect(request.streams).toEqual({
    include_defaults: true,
    subscriptions: [{ stream: 'items', parameters: { list: 'l' }, override_priority: 1 }],
  })
  expect(request.buckets).toEqual([{ name: 'b', after: '1' }])
  stream.close()
  const again = await db.stream({ name: 'items', parameters: { list: 'l' }, priority: 1, ttl: 60 })
  again.close()
  expect(service.sockets.length).toBe(2)
})

test('nobody reads or sends what belongs to another user', async () => {
  open({ user: 'alice' })
  await add('a')
  token = unsigned('bob')
  void db.connect()
  await db.until((status) => status.state === 'needs-auth', { timeout: 10_000 })
  expect(db.status).toMatchObject({ error: { code: 'other_user' } })
  await expect(rows()).rejects.toMatchObject({ code: 'other_user' })
  await expect(add('b')).rejects.toMatchObject({ code: 'other_user' })
  expect(service.posts).toEqual([])
})

test('a write that throws, or writes what it may not, leaves nothing', async () => {
  open()
  await expect(
    db.write(async (tx) => {
      await tx.execute("INSERT INTO notes VALUES ('a', 'x')")
      throw new Error('a fault of the application')
    }),
  ).rejects.toThrow('a fault of the application')
  for (const sql of ['DELETE FROM rp_tx', 'DROP TABLE notes', 'COMMIT']) {
    await expect(db.write((tx) => tx.execute(sql))).rejects.toMatchObject({ code: 'statement' })
  }
  await expect(db.query("INSERT INTO notes VALUES ('a', 'x')")).rejects.toMatchObject({ code: 'statement' })
  expect(await rows()).toEqual([])
  expect(db.status.upload.pending).toBe(0)
})

test('a local write is on the disk a moment later, and several are together', async () => {
  let flushes = 0
  open({ flush: () => void flushes++ })
  await add('a')
  await add('b')
  expect(flushes).toBe(0)
  await until('a flush', async () => flushes > 0)
  await add('c')
  await until('another flush', async () => flushes > 1)
  expect(flushes).toBe(2)
})

test('a write that pauses for too long is rolled back, and others go on', async () => {
  open()
  const slow = db.write(async (tx) => {
    await tx.execute("INSERT INTO notes VALUES ('a', 'x')")
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    await tx.execute("INSERT INTO notes VALUES ('b', 'x')")
  })
  await expect(slow).rejects.toMatchObject({ code: 'write_limit' })
  await add('c')
  expect(await rows()).toEqual([['c', 'mine']])
})

test('it goes on after the connection was lost, and says so meanwhile', async () => {
  service.connected = (each) => bring(each, [row(1, 'a', 'A')])
  open()
  void db.connect()
  await is('live')
  service.sockets[0]?.close(1011)
  await is('error')
  db.wake()
  await is('live')
  await db.disconnect()
  expect(db.status.state).toBe('offline')
  await db.close()
  expect(db.status.state).toBe('closed')
  await expect(rows()).rejects.toMatchObject({ code: 'closed' })
})
