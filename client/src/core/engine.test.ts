import { createServer, type Socket } from 'node:net'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { openNodeSqlite } from '../node-sqlite.ts'
import { unsigned } from '../test-service.ts'
import type { SyncOptions } from '../types.ts'
import { Engine } from './engine.ts'

// Whatever a connection waits for when it is not wanted any more. The server takes connections and says nothing.

const sockets: Socket[] = []
const server = createServer((socket) => sockets.push(socket.resume()))
let url = ''

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  url = `http://127.0.0.1:${address.port}`
})
beforeEach(() => void (sockets.length = 0))
afterAll(() => {
  for (const socket of sockets) socket.destroy()
  server.close()
})

const open = (auth: SyncOptions['auth']) =>
  new Engine(openNodeSqlite(':memory:'), { url, auth, schema: { tables: {} } }, { kind: 'memory' })

const connections = (wanted: number) =>
  expect.poll(() => sockets.filter(({ closed }) => !closed).length, { timeout: 20_000 }).toBe(wanted)

test('who disconnects while a token is asked for is offline, and nothing is connected then', async () => {
  const asked = Promise.withResolvers<void>()
  const answer = Promise.withResolvers<string>()
  const db = open(() => (asked.resolve(), answer.promise))
  await asked.promise
  const offline = db.disconnect()
  answer.resolve(unsigned('alice'))
  await offline
  expect(db.status.state).toBe('offline')
  expect(sockets).toEqual([])
  await db.close()
})

test('who connects twice has one connection, and who disconnects none', async () => {
  const db = open(async () => unsigned('alice'))
  await Promise.all([db.connect(), db.connect()])
  await connections(1)
  await db.disconnect()
  await connections(0)
  await Promise.all([db.connect(), db.disconnect()])
  expect(db.status.state).toBe('offline')
  await Promise.all([db.disconnect(), db.connect()])
  await connections(1)
  expect(db.status.state).toBe('connecting')
  await db.close()
  await connections(0)
})

test('who waits for a sync is told at once when the wait was given up before it began', async () => {
  const db = open(async () => unsigned('alice'))
  await expect(db.waitForSync({ signal: AbortSignal.abort(new Error('given up')) })).rejects.toThrow('given up')
  await db.close()
})
