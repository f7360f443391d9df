import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { BucketEntry, SyncLine } from '../../protocol/lines.ts'
import { Setting, ROOMS } from '../scenarios/setting.ts'
import { until } from '../support/support.ts'
import { Applied, HttpLines } from '../wire/lines.ts'
import {
  CANCEL,
  ERROR,
  errorOf,
  KEEPALIVE,
  lineOf,
  PAYLOAD,
  RSocketClient,
  type RSocketFrame,
  type SetupOptions,
} from '../wire/rsocket.ts'

// The file is long because all transports are compared line by line over one deployment.

const BSON = 'application/vnd.powersync.bson-stream'
const SDK_ACCEPT = `${BSON};q=0.9,application/x-ndjson;q=0.8`
const RAW = { raw_data: true }

let setting: Setting

beforeAll(async () => {
  setting = await Setting.start()
})
afterAll(() => setting?.end())

const open = async (user: string, body: object = RAW, headers: Record<string, string> = {}): Promise<HttpLines> =>
  HttpLines.open(setting.edge.url, await setting.token(user), body, headers)

/** The lines of a client's first checkpoint; then it goes. */
async function first(user: string, body: object = RAW, headers: Record<string, string> = {}): Promise<SyncLine[]> {
  const stream = await open(user, body, headers)
  const lines = await stream.until('checkpoint_complete')
  stream.close()
  return lines
}

function checkpointOf(lines: readonly SyncLine[]): Extract<SyncLine, { checkpoint: unknown }>['checkpoint'] {
  const line = lines[0]
  if (!line || !('checkpoint' in line)) throw new Error(`not a checkpoint: ${JSON.stringify(line)}`)
  return line.checkpoint
}

const dataOf = (lines: readonly SyncLine[]) => lines.flatMap((line) => ('data' in line ? [line.data] : []))
const keys = (lines: readonly SyncLine[]): string[] => lines.map((line) => Object.keys(line).join())
const named = (entries: readonly BucketEntry[], name: string) =>
  entries.filter(({ bucket }) => bucket.includes(`#${name}`))

const replicated = () => setting.replicated()

async function note(user: string, id: string, body = 'text'): Promise<void> {
  await setting.postgres.sql()`insert into notes values (${`${user}-${id}`}, ${user}, ${body}) on conflict (id) do update set body = excluded.body`
  await replicated()
}

const writeCheckpoint = (user: string, clientId: string) => setting.writeCheckpoint(user, clientId)

const openStreams = async (): Promise<number> => (await setting.status()).streams.open

describe('HTTP', () => {
  test('NDJSON and BSON are the same lines, each with its exact content type', async () => {
    const user = setting.newUser()
    await note(user, '1', '“ü” 🐚')
    const ndjson = await open(user)
    const bson = await open(user, RAW, { accept: SDK_ACCEPT })
    expect(ndjson.response.headers['content-type']).toBe('application/x-ndjson')
    expect(bson.response.headers['content-type']).toBe(BSON)
    expect(bson.response.headers['x-accel-buffering']).toBe('no')
    const lines = await ndjson.until('checkpoint_complete')
    expect(keys(lines)).toEqual(['checkpoint', 'data', 'partial_checkpoint_complete', 'data', 'checkpoint_complete'])
    expect(await bson.until('checkpoint_complete')).toEqual(lines)
    await note(user, '2')
    const diff = await ndjson.until('checkpoint_complete')
    expect(keys(diff)).toEqual(['checkpoint_diff', 'data', 'checkpoint_complete'])
    expect(await bson.until('checkpoint_complete')).toEqual(diff)
    ndjson.close()
    bson.close()
  })

  test('without raw_data rows are objects in NDJSON, and strings in BSON all the same', async () => {
    const user = setting.newUser()
    await note(user, '1', 'nested')
    const wanted = { id: `${user}-1`, owner_id: user, body: 'nested' }
    const rows = (lines: SyncLine[]): unknown[] =>
      dataOf(lines).flatMap(({ data }) => data.flatMap((op) => (op.op === 'PUT' ? [op.data] : [])))
    for (const body of [{}, { raw_data: false }]) expect(rows(await first(user, body))).toContainEqual(wanted)
    expect(rows(await first(user, {}, { accept: BSON }))).toContainEqual(JSON.stringify(wanted))
  })

  test('too many buckets are an answer with a status, because no line has been sent', async () => {
    const user = setting.newUser()
    await setting.postgres.sql()`insert into room_members select ${user} || '-' || n, 'room' || n, ${user} from generate_series(1, ${ROOMS + 1}::int) n`
    await replicated()
    const stream = await open(user)
    expect(stream.response.statusCode).toBe(500)
    expect(stream.response.headers['content-type']).toBe('application/json')
    stream.close()
  })

  test('the token expires: a last 0, and a clean end; one that has just expired is reported at once', async () => {
    for (const seconds of [2, -5]) {
      const user = setting.newUser()
      const stream = await HttpLines.open(setting.edge.url, await setting.token(user, seconds), RAW)
      const lines: SyncLine[] = []
      for (;;) {
        const line = await stream.next()
        if (typeof line === 'string') {
          expect(line).toBe('end')
          break
        }
        lines.push(line)
      }
      expect(lines.at(-1)).toEqual({ token_expires_in: 0 })
    }
  })

  test('a keepalive is sent while nothing happens, with whole seconds', async () => {
    const user = setting.newUser()
    const stream = await HttpLines.open(setting.edge.url, await setting.token(user, 600), RAW, { accept: SDK_ACCEPT })
    const line = (await stream.until('token_expires_in')).at(-1)
    if (!line || !('token_expires_in' in line)) throw new Error('no sign of life')
    expect(Number.isInteger(line.token_expires_in)).toBe(true)
    expect(line.token_expires_in).toBeLessThan(600)
    stream.close()
  })
})

describe('what clients depend on', () => {
  test('op ids are ordered across buckets: of a row in several, the newest version has the highest everywhere', async () => {
    const user = setting.newUser()
    const subscriptions = [
      { stream: 'items', parameters: { list: 'l1' }, override_priority: null },
      { stream: 'all_items', parameters: null, override_priority: null },
    ]
    const stream = await open(user, { ...RAW, streams: { include_defaults: false, subscriptions } })
    const lines = await stream.until('checkpoint_complete')
    const highest = Math.max(...dataOf(lines).flatMap(({ data }) => data.map((op) => Number(op.op_id))))
    await setting.postgres.sql()`update items set name = name || '!' where id = 'i3'`
    const changes = dataOf(await stream.until('checkpoint_complete')).flatMap(({ data }) => data)
    expect(changes.length).toBe(2)
    for (const op of changes) expect(Number(op.op_id)).toBeGreaterThan(highest)
    stream.close()
  })

  test('ops that a client has are never sent again, also when its position is a checkpoint beyond every op', async () => {
    const user = setting.newUser()
    await note(user, '1')
    const lines = await first(user)
    const { last_op_id, buckets } = checkpointOf(lines)
    const held = buckets.map(({ bucket }) => ({ name: bucket, after: last_op_id }))
    const unknown = { name: 'not-a-bucket[]', after: '5' }
    const stream = await open(user, { ...RAW, buckets: [...held, unknown] })
    expect(keys(await stream.until('checkpoint_complete'))).toEqual(['checkpoint', 'checkpoint_complete'])
    await note(user, '2')
    const [data, ...more] = dataOf(await stream.until('checkpoint_complete'))
    expect(more).toEqual([])
    expect(data?.data.map((op) => op.op === 'PUT' && op.object_id)).toEqual([`${user}-2`])
    expect(Number(data?.after)).toBeGreaterThanOrEqual(
      Number(buckets.find(({ bucket }) => bucket === data?.bucket)?.count),
    )
    stream.close()
  })

  test('ids are strings, all other numbers whole numbers; a line has one key', async () => {
    const user = setting.newUser()
    await note(user, '1')
    const stream = await open(user, { ...RAW, client_id: 'c' })
    const lines = await stream.until('checkpoint_complete')
    await writeCheckpoint(user, 'c')
    lines.push(...(await stream.until('checkpoint_complete')))
    stream.close()
    const strings = new Set(['last_op_id', 'write_checkpoint', 'op_id', 'after', 'next_after'])
    let seen = 0
    const look = (value: unknown): void => {
      if (typeof value !== 'object' || value === null) return
      for (const [name, member] of Object.entries(value)) {
        if (strings.has(name)) expect([name, member]).toEqual([name, expect.stringMatching(/^\d+$/)])
        else if (typeof member === 'number') expect([name, Number.isInteger(member)]).toEqual([name, true])
        if (strings.has(name)) seen++
        look(member)
      }
    }
    look(lines)
    expect(seen).toBeGreaterThan(8)
    for (const line of lines) expect(Object.keys(line).length).toBe(1)
  })

  test('values: every digit of an integer, a point in a real, 1 for true, numeric and JSON as text, no bytes', async () => {
    const user = setting.newUser()
    await setting.postgres.sql()`insert into kinds values (${user}, ${user}, 9007199254740993, 2, true, 1.50, '{"a": [1]}', '\\x00ff', '2023-03-06 13:47:00+00')`
    await replicated()
    const lines = await first(user, {
      ...RAW,
      streams: { include_defaults: false, subscriptions: [{ stream: 'kinds' }] },
    })
    const op = dataOf(lines)[0]?.data[0]
    expect(op?.op === 'PUT' && op.data).toBe(
      `{"id":"${user}","owner_id":"${user}","i8":9007199254740993,"f8":2.0,"yes":1,"price":"1.50","doc":"{\\"a\\": [1]}","at":"2023-03-06T13:47:00.000000Z"}`,
    )
  })

  test('every checkpoint is completed: without buckets, without data, with a write checkpoint alone', async () => {
    const user = setting.newUser()
    const stream = await open(user, { ...RAW, client_id: 'c', streams: { include_defaults: false, subscriptions: [] } })
    const lines = await stream.until('checkpoint_complete')
    expect(keys(lines)).toEqual(['checkpoint', 'checkpoint_complete'])
    expect(checkpointOf(lines)).toEqual({ last_op_id: expect.stringMatching(/^\d+$/), buckets: [], streams: [] })
    const write_checkpoint = await writeCheckpoint(user, 'c')
    const last_op_id = expect.stringMatching(/^\d+$/)
    expect(await stream.until('checkpoint_complete')).toEqual([
      { checkpoint_diff: { last_op_id, write_checkpoint, updated_buckets: [], removed_buckets: [] } },
      { checkpoint_complete: { last_op_id } },
    ])
    stream.close()
  })

  test('the write checkpoint is on every line from then on, also of the next connection, and only for its user and client', async () => {
    const user = setting.newUser()
    const body = (client_id?: string) => ({ ...RAW, client_id })
    const stream = await open(user, body('c'))
    const other = await open(user, body('d'))
    const nameless = await open(user, RAW)
    await Promise.all([stream, other, nameless].map((each) => each.until('checkpoint_complete')))
    const write_checkpoint = await writeCheckpoint(user, 'c')
    await stream.until('checkpoint_complete')
    await note(user, '1')
    expect((await stream.until('checkpoint_complete'))[0]).toMatchObject({ checkpoint_diff: { write_checkpoint } })
    expect((await other.until('checkpoint_complete'))[0]).not.toMatchObject({
      checkpoint_diff: { write_checkpoint: expect.anything() },
    })
    await nameless.until('checkpoint_complete')
    const ofUser = await writeCheckpoint(user, '')
    expect((await nameless.until('checkpoint_complete'))[0]).toMatchObject({
      checkpoint_diff: { write_checkpoint: ofUser },
    })
    for (const each of [stream, other, nameless]) each.close()
    expect(checkpointOf(await first(user, body('c')))).toMatchObject({ write_checkpoint })
    expect(BigInt(await writeCheckpoint(user, 'c'))).toBeGreaterThan(BigInt(write_checkpoint))
  })

  test('the last of the priorities that have something new gets the whole completion, the others a partial one', async () => {
    const user = setting.newUser()
    const sql = setting.postgres.sql()
    await note(user, '1')
    await sql`insert into members values (${user}, 'red', ${user})`
    await replicated()
    const stream = await open(user)
    const completes = (lines: SyncLine[]) =>
      lines.flatMap((line) =>
        'partial_checkpoint_complete' in line ? [line.partial_checkpoint_complete.priority] : [],
      )
    expect(completes(await stream.until('checkpoint_complete'))).toEqual([0, 1])
    await sql`update tasks set title = title || '.' where id = 't2'`
    expect(keys(await stream.until('checkpoint_complete'))).toEqual(['checkpoint_diff', 'data', 'checkpoint_complete'])
    await sql.begin(async (q) => {
      await q`update tasks set title = title || '.' where id = 't2'`
      await q`update notes set body = body || '.' where owner_id = ${user}`
    })
    expect(completes(await stream.until('checkpoint_complete'))).toEqual([1])
    stream.close()
  })

  test('a REMOVE carries the subkey of its PUT, and checksums add up', async () => {
    const user = setting.newUser()
    await note(user, '1')
    const stream = await open(user)
    const applied = new Applied()
    const lines = await stream.until('checkpoint_complete')
    await setting.postgres.sql()`delete from notes where id = ${`${user}-1`}`
    lines.push(...(await stream.until('checkpoint_complete')))
    stream.close()
    for (const line of lines) applied.add(line)
    const ops = dataOf(lines).flatMap(({ bucket, data }) => (bucket.includes('#notes') ? data : []))
    expect(ops.map(({ op }) => op)).toEqual(['PUT', 'REMOVE'])
    expect(new Set(ops.map((op) => 'subkey' in op && op.subkey)).size).toBe(1)
    expect(checkpointOf(lines).buckets.every(({ checksum }) => checksum === (checksum | 0))).toBe(true)
  })

  test('reasons: `sub` counts the subscriptions of the request, `default` the streams of the checkpoint; the lowest priority wins', async () => {
    const subscriptions = [
      { stream: 'missing', parameters: {}, override_priority: null },
      { stream: 'items', parameters: { list: 'l2' }, override_priority: 1 },
      { stream: 'news', parameters: null, override_priority: 2 },
      { stream: 'items', parameters: { list: 'l2' }, override_priority: 0 },
    ]
    const { buckets, streams } = checkpointOf(
      await first(setting.newUser(), { ...RAW, streams: { include_defaults: true, subscriptions } }),
    )
    expect(streams.map(({ name, is_default }) => [name, is_default])).toEqual([
      ['news', true],
      ['notes', true],
      ['tasks', true],
      ['items', false],
      ['rooms', true],
    ])
    for (const { errors } of streams) expect(errors).toEqual([])
    expect(named(buckets, 'items')).toMatchObject([{ priority: 0, subscriptions: [{ sub: 1 }, { sub: 3 }] }])
    const [news] = named(buckets, 'news')
    expect(news?.priority).toBe(0)
    expect(news?.subscriptions).toEqual(expect.arrayContaining([{ default: 0 }, { sub: 2 }]))
  })

  test('superfluous parameters of clients change nothing', async () => {
    const user = setting.newUser()
    await note(user, '1')
    const plain = await first(user)
    const habits = {
      only: [],
      include_checksum: true,
      binary_data: true,
      raw_data: true,
      buckets: [],
      app_metadata: { app: 'x' },
      future: { a: 1 },
      streams: { include_defaults: true, subscriptions: [] },
    }
    const nulls = {
      raw_data: true,
      buckets: null,
      client_id: null,
      parameters: null,
      streams: null,
      app_metadata: null,
      only: null,
    }
    for (const body of [habits, nulls]) expect(dataOf(await first(user, body))).toEqual(dataOf(plain))
    const bearer = await HttpLines.open(setting.edge.url, '', RAW, {
      authorization: `Bearer ${await setting.token(user)}`,
    })
    expect(dataOf(await bearer.until('checkpoint_complete'))).toEqual(dataOf(plain))
    bearer.close()
  })

  test('ops come in large lines, not one by one', async () => {
    const user = setting.newUser()
    await setting.postgres.sql()`insert into notes select ${user} || '-' || n, ${user}, repeat('x', 200) from generate_series(1, 8000) n`
    await replicated()
    const applied = new Applied()
    for (const line of await first(user)) applied.add(line)
    expect(applied.ops).toBeGreaterThanOrEqual(8_000)
    // About 3 MB in lines of up to 400 KB.
    expect(applied.lines).toBeLessThan(20)
  })

  test('a row of more than a megabyte goes alone', async () => {
    const user = setting.newUser()
    const stream = await open(user)
    await stream.until('checkpoint_complete')
    await setting.postgres.sql()`insert into notes values (${`${user}-1`}, ${user}, ${'“'.repeat(500_000)}), (${`${user}-2`}, ${user}, 'small')`
    const applied = new Applied()
    const lines = await stream.until('checkpoint_complete')
    stream.close()
    for (const line of lines) applied.add(line)
    expect(
      dataOf(lines)
        .flatMap(({ data }) => data.map((op) => (op.op === 'PUT' ? op.data.length : 0)))
        .sort((a, b) => a - b)[1],
    ).toBeGreaterThan(500_000)
  })
})

describe('RSocket', () => {
  async function connect(options: SetupOptions & { user?: string } = {}, path?: string): Promise<RSocketClient> {
    const client = await RSocketClient.open(setting.edge.url, path)
    client.setup({ token: await setting.token(options.user ?? 'rsocket'), ...options })
    return client
  }

  async function lines(client: RSocketClient, last = 'checkpoint_complete'): Promise<SyncLine[]> {
    const all: SyncLine[] = []
    for (;;) {
      const line = await client.line()
      if (!line) throw new Error('the stream is complete')
      all.push(line)
      if (last in line) return all
    }
  }

  test.each(['application/json', 'application/bson'])('with %s the lines are those of HTTP, in BSON', async (mime) => {
    const user = setting.newUser()
    await note(user, '1', '“ü” 🐚')
    const client = await connect({ user, mime })
    client.request(100, RAW)
    expect(await lines(client)).toEqual(await first(user))
    await note(user, '2')
    expect(keys(await lines(client))).toEqual(['checkpoint_diff', 'data', 'checkpoint_complete'])
    client.socket.close()
  })

  test('the path of the socket does not matter; a request in fragments is put together', async () => {
    const client = await connect({}, '/')
    const metadata = Buffer.from('{"path":"/sync/stream"}')
    const body = Buffer.from('{"raw_data":true,"parameters":{"a":"b"}}')
    const n = Buffer.from([0, 0, 0, 9])
    const length = Buffer.from([0, 0, metadata.length])
    client.frame(1, 6, 0x180, n, length, metadata, body.subarray(0, 10))
    client.frame(1, PAYLOAD, 0x80, body.subarray(10, 20))
    client.frame(1, PAYLOAD, 0x20, body.subarray(20))
    expect(keys(await lines(client))[0]).toBe('checkpoint')
    client.socket.close()
  })

  /** Frames up to the answer to a KEEPALIVE: everything that was to come has come. */
  async function settled(client: RSocketClient): Promise<RSocketFrame[]> {
    const nonce = Buffer.from(`${Math.random()}`)
    client.keepalive(nonce)
    const frames: RSocketFrame[] = []
    for (;;) {
      const frame = await client.next()
      if ('closed' in frame) throw new Error('closed')
      if (frame.type === KEEPALIVE && frame.body.subarray(8).equals(nonce)) {
        expect(frame).toMatchObject({ streamId: 0, flags: 0 })
        return frames
      }
      frames.push(frame)
    }
  }

  test('never more lines than were requested; a KEEPALIVE is answered with its data', async () => {
    const user = setting.newUser()
    await note(user, '1')
    const client = await connect({ user })
    client.request(1, RAW)
    const seen = [await client.until(PAYLOAD)]
    for (const n of [1, 2, 0]) {
      await new Promise((resolve) => setTimeout(resolve, 200))
      const more = await settled(client)
      expect(more.every((frame) => frame.type === PAYLOAD && frame.flags === 0x20 && frame.streamId === 1)).toBe(true)
      seen.push(...more)
      if (n > 0) client.requestN(n)
    }
    expect(seen.map((frame) => Object.keys(lineOf(frame)).join())).toEqual([
      'checkpoint',
      'data',
      'partial_checkpoint_complete',
      'data',
    ])
    client.requestN(1)
    expect(await client.line()).toMatchObject({ checkpoint_complete: {} })
    client.socket.close()
  })

  test.each<[string, SetupOptions, number, string]>([
    ['a token that is none', { token: 'abc' }, 3, '[PSYNC_S2101]'],
    ['no token', { metadata: { user_agent: 'x' } }, 3, '[PSYNC_S2106]'],
    ['a token without its word', { metadata: { token: 'abc' } }, 3, '[PSYNC_S2106]'],
    ['another MIME type', { mime: 'application/cbor' }, 3, '[PSYNC_S2004]'],
    ['resumption', { flags: 0x80 }, 3, '[PSYNC_S2001]'],
    ['leases', { flags: 0x40 }, 3, '[PSYNC_S2001]'],
    ['a lifetime of nothing', { lifetimeMs: 0 }, 1, '[ROCKPOOL_CLIENT_FRAME]'],
  ])('%s is refused on stream 0, and the socket closed', async (name, options, code, text) => {
    const client = await RSocketClient.open(setting.edge.url)
    if (name === 'resumption') {
      // The token to resume with stands between the times and the MIME types.
      client.frame(
        0,
        1,
        0x180,
        Buffer.from('000100000000271000002710000161', 'hex'),
        Buffer.from('\x10application/json\x10application/json'),
        Buffer.from([0, 0, 2]),
        Buffer.from('{}'),
      )
    } else client.setup({ token: await setting.token('a'), ...options })
    client.request(10, RAW)
    const error = errorOf(await client.until(ERROR))
    expect(error).toMatchObject({ streamId: 0, code })
    expect(error.message.startsWith(text)).toBe(true)
    expect(await client.next()).toHaveProperty('closed')
  })

  test('an expired token, and one of another key', async () => {
    for (const [token, code] of [
      [await setting.token('a', -120), 'PSYNC_S2103'],
      [await setting.badToken('a'), 'PSYNC_S2102'],
    ] as const) {
      const client = await connect({ token })
      expect(errorOf(await client.until(ERROR))).toMatchObject({
        streamId: 0,
        code: 3,
        message: expect.stringContaining(`[${code}]`),
      })
    }
  })

  test('what is wrong with a request is told on its stream; the connection goes on', async () => {
    const user = setting.newUser()
    await setting.postgres.sql()`insert into room_members select ${user} || '-' || n, 'room' || n, ${user} from generate_series(1, ${ROOMS + 1}::int) n`
    await replicated()
    const client = await connect({ user })
    const refused = async (streamId: number, body: unknown, path?: string) => {
      client.request(10, body, path === undefined ? { streamId } : { streamId, path })
      return errorOf(await client.until(ERROR))
    }
    expect(await refused(1, RAW, '/elsewhere')).toMatchObject({
      streamId: 1,
      code: 0x201,
      message: expect.stringMatching(/^\[PSYNC_S2002\] /),
    })
    expect(await refused(3, { buckets: 1 })).toMatchObject({
      streamId: 3,
      code: 0x201,
      message: expect.stringMatching(/^\[PSYNC_S2001\] /),
    })
    expect(await refused(5, RAW)).toMatchObject({
      streamId: 5,
      code: 0x201,
      message: expect.stringMatching(/^\[PSYNC_S2305\] /),
    })
    client.request(10, { ...RAW, streams: { include_defaults: false, subscriptions: [] } }, { streamId: 7 })
    expect((await client.until(PAYLOAD)).streamId).toBe(7)
    client.socket.close()
  })

  test('a first frame that is not SETUP, and bytes that are no frame', async () => {
    const client = await RSocketClient.open(setting.edge.url)
    client.request(1, {})
    expect(errorOf(await client.until(ERROR))).toMatchObject({ streamId: 0, code: 1 })
    const other = await connect()
    await settled(other)
    other.socket.send(new Uint8Array([1, 2, 3]))
    expect(errorOf(await other.until(ERROR))).toMatchObject({ streamId: 0, code: 0x101 })
    expect(await other.next()).toHaveProperty('closed')
  })

  test('the token expires: a last 0, then the end of the stream', async () => {
    const client = await connect({ token: await setting.token('a', 3) })
    client.request(100, RAW)
    expect((await lines(client, 'token_expires_in')).at(-1)).toEqual({ token_expires_in: 0 })
    expect(await client.line()).toBeNull()
    // Who requests no more lines hears of the end all the same.
    const waiting = await connect({ token: await setting.token('a', 3) })
    waiting.request(1, RAW)
    expect(await waiting.line()).toMatchObject({ checkpoint: {} })
    expect(await waiting.line()).toBeNull()
  })

  test('without KEEPALIVE for its lifetime the client is dead', async () => {
    const client = await connect({ keepaliveMs: 300, lifetimeMs: 600 })
    client.request(100, RAW)
    await lines(client)
    expect(errorOf(await client.until(ERROR))).toMatchObject({ streamId: 0, code: 0x101 })
    expect(await client.next()).toHaveProperty('closed')
  })

  test('CANCEL and a socket that has gone end the stream', async () => {
    await until('no streams', async () => (await openStreams()) === 0)
    const client = await connect()
    client.request(100, RAW)
    await lines(client)
    const other = await connect()
    other.request(100, RAW)
    await lines(other)
    expect(await openStreams()).toBe(2)
    client.frame(1, CANCEL, 0)
    await until('the end of one stream', async () => (await openStreams()) === 1)
    // Nothing is said on a stream that the client has given up.
    expect(await settled(client)).toEqual([])
    other.socket.destroy()
    await until('the end of the other stream', async () => (await openStreams()) === 0)
    client.socket.close()
  })
})
