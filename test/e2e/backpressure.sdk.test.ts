import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { SyncLine } from '../../protocol/lines.ts'
import { KNOWN_STREAM_BYTES } from '../../workers/stream/limits.ts'
import { Setting } from '../scenarios/setting.ts'
import { until } from '../support/support.ts'
import { Applied, HttpLines } from '../wire/lines.ts'
import { RSocketClient } from '../wire/rsocket.ts'
import { RawWebSocket } from '../wire/web-socket.ts'

/** Changes that each client misses. `BACKPRESSURE_MB=200` for more of them, and a longer pause. */
const MEGABYTES = Number(process.env.BACKPRESSURE_MB ?? 24)
const STOPPED_MS = process.env.BACKPRESSURE_MB ? 60_000 : 2_000
const BOUND = 1_000_000

interface Reader {
  next(): Promise<SyncLine>
  pause(): void
  resume(): void
  close(): void
}

let setting: Setting

beforeAll(async () => {
  setting = await Setting.start()
})
afterAll(() => setting?.end())

async function http(user: string, accept: string): Promise<Reader> {
  const lines = await HttpLines.open(setting.edge.url, await setting.token(user), { raw_data: true }, { accept })
  const next = async (): Promise<SyncLine> => {
    const line = await lines.next()
    if (typeof line === 'string') throw new Error(`the body ended: ${line}`)
    return line
  }
  return { next, pause: () => lines.pause(), resume: () => lines.resume(), close: () => lines.close() }
}

/** `n` lines are requested at first, and one more for each that was read. */
async function rsocket(user: string, n: number): Promise<Reader> {
  const client = await RSocketClient.open(setting.edge.url)
  client.setup({ token: await setting.token(user) })
  client.request(n, {})
  const alive = setInterval(() => client.keepalive(), 20_000)
  const next = async (): Promise<SyncLine> => {
    const line = await client.line()
    if (!line) throw new Error('the stream is complete')
    client.requestN(1)
    return line
  }
  return {
    next,
    pause: () => client.socket.pause(),
    resume: () => client.socket.resume(),
    close: () => (clearInterval(alive), client.socket.close()),
  }
}

/** It gives a great deal of credit, as if it would never stop reading. */
async function native(user: string): Promise<Reader> {
  const socket = await RawWebSocket.open(setting.edge.url)
  socket.send(JSON.stringify({ open: {}, token: await setting.token(user), credit: 100_000_000 }))
  const next = async (): Promise<SyncLine> => {
    const message = await socket.next()
    if (typeof message !== 'string') throw new Error(`not a text: ${JSON.stringify(message)}`)
    socket.send(JSON.stringify({ credit: Math.max(1, Buffer.byteLength(message)) }))
    return JSON.parse(message)
  }
  return { next, pause: () => socket.pause(), resume: () => socket.resume(), close: () => socket.close() }
}

/** Of workerd, with all objects of the tenant in it. */
const residentMegabytes = (): number =>
  Math.round(Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${setting.edge.pid()}/status`, 'utf8'))?.[1]) / 1_000)

test('I8: clients that stop reading cost less than a megabyte each on every transport, and catch up when they continue', async () => {
  const sql = setting.postgres.sql()
  const user = setting.newUser()
  const kinds: [string, Reader][] = [
    ['NDJSON', await http(user, 'application/x-ndjson')],
    ['BSON', await http(user, 'application/vnd.powersync.bson-stream')],
    ['RSocket, 10 lines', await rsocket(user, 10)],
    ['RSocket, lines without end', await rsocket(user, 0x7fffffff)],
    ['native', await native(user)],
  ]
  const clients = kinds.map(([name, reader]) => ({ name, reader, applied: new Applied() }))
  const read = async ({ reader, applied }: (typeof clients)[number], rows: number): Promise<void> => {
    for (;;) {
      const line = await reader.next()
      applied.add(line)
      if ('checkpoint_complete' in line && applied.size === rows) return
    }
  }
  await Promise.all(clients.map((client) => read(client, 1)))
  for (const { reader } of clients) reader.pause()
  if (process.env.BACKPRESSURE_MB) console.log('before', 'resident', residentMegabytes(), 'MB')

  const rows = MEGABYTES * 500
  for (let from = 1; from <= rows; from += 500) {
    await sql`insert into notes select ${user} || '-' || n, ${user}, repeat(md5(n::text), 64) from generate_series(${from}::int, ${from + 499}::int) n`
  }
  await until(
    'all changes to be committed',
    async () => {
      const { pendingBatches, lagBytes } = await setting.status()
      return pendingBatches === 0 && lagBytes !== null && lagBytes < 100_000
    },
    280,
  )
  // What goes to a client that does not read fills the network first.
  await new Promise((resolve) => setTimeout(resolve, STOPPED_MS))
  const stopped = (await setting.status()).streams
  if (process.env.BACKPRESSURE_MB) console.log('while nobody reads', stopped, 'resident', residentMegabytes(), 'MB')
  expect(stopped.open).toBe(clients.length)
  expect(stopped.peakHeldBytes).toBeGreaterThan(100_000)
  expect(stopped.peakHeldBytes).toBeLessThanOrEqual(BOUND)
  expect(stopped.heldBytes).toBeLessThanOrEqual(BOUND * clients.length)

  for (const { reader } of clients) reader.resume()
  await Promise.all(clients.map((client) => read(client, rows + 1)))
  const caughtUp = (await setting.status()).streams
  expect(caughtUp.peakHeldBytes).toBeLessThanOrEqual(BOUND)
  if (process.env.BACKPRESSURE_MB) console.log('caught up', caughtUp, 'resident', residentMegabytes(), 'MB')
  for (const { name, applied } of clients) expect([name, applied.size]).toEqual([name, rows + 1])
  await until('nothing to be held', async () => (await setting.status()).streams.heldBytes < 10_000 * clients.length)
  expect(caughtUp.knownBytes).toBeGreaterThan(KNOWN_STREAM_BYTES * clients.length)
  for (const { reader } of clients) reader.close()
  await until('nobody to be there', async () => (await setting.status()).streams.open === 0)
  expect((await setting.status()).streams.knownBytes).toBe(0)
})
