import { describe, expect, test } from 'vitest'
import { credentials } from '../../../test/tls/credentials.ts'
import { pipe } from '../../../test/tls/pipe.ts'
import { TestServer } from '../../../test/tls/server.ts'
import { connectTls, type TlsSocket } from './connection.ts'
import { ContentType } from './parameters.ts'
import { concat, type Bytes } from './wire.ts'

const RECORDS = 300
const key = credentials(0x0403)

async function connected(
  buffered: boolean,
  recordsOfAKey?: number,
): Promise<{ server: TestServer; socket: TlsSocket }> {
  const { client, server: end } = pipe(buffered)
  const server = new TestServer(end, await key)
  const accepted = server.accept()
  const options = recordsOfAKey === undefined ? {} : { recordsOfAKey }
  const socket = await connectTls(client, {
    host: 'localhost',
    verify: () => {},
    signal: AbortSignal.timeout(5_000),
    ...options,
  })
  await accepted
  return { server, socket }
}

/** Records of their number each, with changes of keys at `updates`, and what they hold. */
async function records(
  server: TestServer,
  updates: number[],
  wanted = false,
): Promise<{ sealed: Bytes[]; data: Bytes }> {
  const sealed: Bytes[] = []
  const parts: Bytes[] = []
  for (let i = 0; i < RECORDS; i++) {
    if (updates.includes(i)) sealed.push(await server.update(wanted))
    else {
      parts.push(new Uint8Array(40).fill(i))
      sealed.push(await server.sealed(ContentType.applicationData, parts.at(-1) as Bytes))
    }
  }
  return { sealed, data: concat(...parts) }
}

async function readTo(reader: ReadableStreamDefaultReader<Uint8Array>, length: number): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = []
  for (let got = 0; got < length;) {
    const { value } = await reader.read()
    if (!value) break
    chunks.push(value)
    got += value.length
  }
  return chunks
}

describe.each([
  ['chunks of the transport', false],
  ['a buffer of ours', true],
])('%s', (_, buffered) => {
  test.each([[[0]], [[150]], [[299]], [[0, 299]], [[10, 11]], [[100, 200]], [[]]])(
    'a read of 300 records with changes of keys at %j is one chunk',
    async (updates) => {
      const { server, socket } = await connected(buffered)
      const { sealed, data } = await records(server, updates)
      const reader = socket.readable.getReader()
      server.raw(concat(...sealed))
      expect(await readTo(reader, data.length)).toEqual([data])
      // The keys that are left are those of both sides.
      await server.send(ContentType.applicationData, data.subarray(0, 9))
      expect(await readTo(reader, 9)).toEqual([data.subarray(0, 9)])
      await socket.close()
    },
  )

  test.each([1, 7, 1_000])('the same in reads of %i bytes', async (size) => {
    const { server, socket } = await connected(buffered)
    const { sealed, data } = await records(server, [1, 50, 51, 299])
    const all = concat(...sealed)
    const read = readTo(socket.readable.getReader(), data.length)
    for (let at = 0; at < all.length; at += size) {
      server.raw(all.subarray(at, at + size))
      await new Promise(setImmediate)
    }
    const chunks = await read
    expect(Buffer.concat(chunks).equals(data)).toBe(true)
    // A stream that fills a buffer of ours may put together what came while the last read was opened.
    expect(chunks.length).toBeGreaterThan(buffered ? 1 : Math.min(200, data.length / size / 2))
    await socket.close()
  })

  test('key updates that ask us to update too get one answer for each read, then the new keys', async () => {
    const { server, socket } = await connected(buffered)
    const writer = socket.writable.getWriter()
    const reader = socket.readable.getReader()
    for (let round = 0; round < 3; round++) {
      const { sealed, data } = await records(server, [5, 6, 7], true)
      server.raw(concat(...sealed))
      await readTo(reader, data.length)
      await writer.write(new Uint8Array([round]))
      expect(await server.record()).toEqual({ type: ContentType.handshake, data: new Uint8Array([24, 0, 0, 1, 0]) })
      server.opening = (await server.opening?.next?.()) ?? null
      expect(await server.record()).toEqual({ type: ContentType.applicationData, data: new Uint8Array([round]) })
    }
    await socket.close()
  })

  test('data before a changed record is passed on, then the error; also after a key update', async () => {
    const { server, socket } = await connected(buffered)
    const { sealed } = await records(server, [100])
    const bad = sealed[200] as Bytes
    bad[20] = (bad[20] ?? 0) ^ 1
    server.raw(concat(...sealed))
    const reader = socket.readable.getReader()
    expect((await reader.read()).value).toHaveLength(199 * 40)
    await expect(reader.read()).rejects.toMatchObject({ code: 'ROCKPOOL_SOURCE_UNREACHABLE', alert: 20 })
    await expect(socket.closed).rejects.toMatchObject({ alert: 20 })
  })

  test('data before a record that is too long is passed on as well', async () => {
    const { server, socket } = await connected(buffered)
    const data = await server.sealed(ContentType.applicationData, new Uint8Array(7))
    server.raw(concat(data, [23, 3, 3, 0xff, 0xff]))
    const reader = socket.readable.getReader()
    expect((await reader.read()).value).toHaveLength(7)
    await expect(reader.read()).rejects.toMatchObject({ alert: 22 })
  })

  test('our own keys change after the limit of records', async () => {
    const { server, socket } = await connected(buffered, 4)
    const writer = socket.writable.getWriter()
    const data = new Uint8Array(16_384 * 9 + 1).map((_, i) => i)
    await writer.write(data)
    const parts: Bytes[] = []
    const types: number[] = []
    while (parts.length < 10) {
      const record = await server.record()
      if (!record) break
      types.push(record.type)
      if (record.type === ContentType.applicationData) parts.push(record.data)
      else server.opening = (await server.opening?.next?.()) ?? null
    }
    expect(types).toEqual([23, 23, 23, 23, 22, 23, 23, 23, 23, 22, 23, 23])
    expect(Buffer.concat(parts).equals(data)).toBe(true)
    await socket.close()
  })
})
