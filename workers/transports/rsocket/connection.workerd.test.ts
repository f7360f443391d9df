import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Environment } from '../../../durable-objects/environment.ts'
import { secretSigner } from '../../../test/support/signers.ts'
import {
  FRAGMENTS_SECONDS,
  MAX_BODY_BYTES,
  MAX_EARLY_FRAMES,
  MAX_FRAGMENTS,
  MAX_UNREAD_ANSWER_BYTES,
  PROBE_BYTES,
} from '../../stream/limits.ts'
import { RSocketConnection } from './connection.ts'
import { decodeFrame, Flag, FrameType, type Frame } from './frames.ts'
import { tenantOf } from '../../../test/support/tenant.ts'

const secret = crypto.getRandomValues(new Uint8Array(32))
const signer = secretSigner('HS256', secret, 'app')
const environment = {
  JWT_SECRET: Buffer.from(secret).toString('base64url'),
  JWT_AUDIENCE: 'app',
} as unknown as Environment

beforeEach(() => vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }))
afterEach(() => vi.useRealTimers())

function uint(bytes: 1 | 2 | 3 | 4, value: number): Buffer {
  const buffer = Buffer.alloc(bytes)
  buffer.writeUIntBE(value, 0, bytes)
  return buffer
}

/** A connection whose socket takes everything, as a real one does whether it is read or not. */
class Client {
  readonly frames: Frame[] = []
  sentBytes = 0
  closed = false
  readonly connection: RSocketConnection

  constructor() {
    const socket = {
      send: (data: Uint8Array) => {
        this.sentBytes += data.length
        this.frames.push(decodeFrame(data))
      },
      close: () => void (this.closed = true),
    }
    this.connection = new RSocketConnection(environment, tenantOf(environment), socket as unknown as WebSocket)
  }

  /** `accepted`: the token has been verified. */
  static async open(accepted = true): Promise<Client> {
    const client = new Client()
    const mime = Buffer.from('application/json')
    const payload = Buffer.from(JSON.stringify({ token: `Token ${await signer.sign({ sub: 'a' })}` }))
    const mimes = [uint(1, mime.length), mime, uint(1, mime.length), mime]
    client.send(
      0,
      FrameType.SETUP,
      Flag.METADATA,
      uint(2, 1),
      uint(2, 0),
      uint(4, 20_000),
      uint(4, 900_000),
      ...mimes,
      uint(3, payload.length),
      payload,
    )
    if (accepted) {
      // A request that is refused shows that the token was verified.
      client.send(1, FrameType.REQUEST_STREAM, 0, uint(4, 0))
      await vi.waitFor(() => expect(client.errors).toHaveLength(1))
      client.frames.length = 0
    }
    return client
  }

  send(streamId: number, type: number, flags: number, ...parts: Uint8Array[]): void {
    const bytes = Buffer.concat([uint(4, streamId), uint(2, (type << 10) | flags), ...parts])
    this.connection.receive(new Uint8Array(bytes).buffer)
  }

  keepalive(data: Uint8Array, respond = true): void {
    this.send(0, FrameType.KEEPALIVE, respond ? Flag.RESPOND : 0, Buffer.alloc(8), data)
  }

  get errors() {
    return this.frames.flatMap((frame) =>
      frame.type === 'error' ? [{ streamId: frame.streamId, code: frame.code, message: frame.message }] : [],
    )
  }
}

const ended = (message: RegExp) => [{ streamId: 0, code: 0x101, message: expect.stringMatching(message) }]

describe('fragments', () => {
  test('a request comes in so many at most, although they may be empty', async () => {
    const client = await Client.open()
    client.send(3, FrameType.REQUEST_STREAM, Flag.FOLLOWS, uint(4, 1))
    for (let n = 1; n < MAX_FRAGMENTS; n++) client.send(3, FrameType.PAYLOAD, Flag.FOLLOWS)
    expect(client.frames).toEqual([])
    client.send(3, FrameType.PAYLOAD, Flag.FOLLOWS)
    expect(client.errors).toEqual([
      { streamId: 3, code: 0x201, message: '[PSYNC_S2001] a request has more than 64 fragments' },
    ])
    // What comes of it afterwards is nobody's.
    for (let n = 0; n < 1_000; n++) client.send(3, FrameType.PAYLOAD, Flag.FOLLOWS)
    expect([client.errors.length, client.closed]).toEqual([1, false])
  })

  test('and within so many seconds', async () => {
    const client = await Client.open()
    client.send(3, FrameType.REQUEST_STREAM, Flag.FOLLOWS, uint(4, 1))
    vi.advanceTimersByTime(FRAGMENTS_SECONDS * 1_000 - 1)
    expect(client.frames).toEqual([])
    vi.advanceTimersByTime(1)
    expect(client.errors).toEqual([
      { streamId: 3, code: 0x201, message: '[PSYNC_S2001] a request was not complete after 10 seconds' },
    ])
    // The connection has no stream any more, so it does not stay.
    vi.advanceTimersByTime(5_000)
    expect(client.closed).toBe(true)
  })
})

describe('answers that nobody reads', () => {
  test('KEEPALIVE: what goes back is small, and bounded', async () => {
    const client = await Client.open()
    client.keepalive(Buffer.alloc(64))
    expect(client.frames).toMatchObject([{ type: 'keepalive', data: new Uint8Array(64) }])
    client.keepalive(Buffer.alloc(65))
    expect(client.errors).toEqual(ended(/^\[ROCKPOOL_CLIENT_FRAME\] a KEEPALIVE carries more than 64 bytes/))

    const flooding = await Client.open()
    const before = flooding.sentBytes
    for (let n = 0; n < 10_000; n++) flooding.keepalive(Buffer.alloc(64))
    expect(flooding.errors).toEqual(ended(/more than 65536 bytes of answers are not read/))
    expect(flooding.sentBytes - before).toBeLessThanOrEqual(MAX_UNREAD_ANSWER_BYTES + 1_000)
    expect(flooding.closed).toBe(true)
  })

  test('refusals are answers, too', async () => {
    const client = await Client.open()
    for (let n = 3; n < 10_000; n += 2) client.send(n, FrameType.REQUEST_STREAM, 0, uint(4, 0))
    expect(client.errors.at(-1)).toEqual(ended(/more than 65536 bytes of answers/)[0])
  })

  test('who reads them may ask as often as it likes', async () => {
    const client = await Client.open()
    let probes = 0
    for (let n = 0; n < 10_000; n++) {
      client.keepalive(Buffer.alloc(64))
      // The question whether it receives follows behind what was sent.
      await Promise.resolve()
      for (const frame of client.frames.splice(0)) {
        if (frame.type !== 'keepalive' || !(frame.flags & Flag.RESPOND)) continue
        probes++
        client.keepalive(frame.data, false)
      }
    }
    expect([client.closed, client.errors]).toEqual([false, []])
    expect(probes).toBe(Math.floor((10_000 * 78) / PROBE_BYTES))
  })
})

test('before the token is verified only so many frames are kept', async () => {
  const client = await Client.open(false)
  for (let n = 0; n < MAX_EARLY_FRAMES; n++) client.send(1, FrameType.REQUEST_N, 0, uint(4, 1))
  expect(client.frames).toEqual([])
  client.send(1, FrameType.REQUEST_N, 0, uint(4, 1))
  expect(client.errors).toEqual(ended(/more than 16 frames before the token is verified/))
})

test('a message is as large as a body may be', async () => {
  const client = await Client.open()
  client.send(3, FrameType.PAYLOAD, 0, Buffer.alloc(MAX_BODY_BYTES))
  expect(client.errors).toEqual(ended(/a message is larger than 1048576 bytes/))
})

test.each(['constructor', '__proto__', 'toString'])('%s is no MIME type', async (mime) => {
  const client = new Client()
  const name = Buffer.from(mime)
  const mimes = [uint(1, name.length), name, uint(1, name.length), name]
  client.send(
    0,
    FrameType.SETUP,
    Flag.METADATA,
    uint(2, 1),
    uint(2, 0),
    uint(4, 20_000),
    uint(4, 90_000),
    ...mimes,
    uint(3, 2),
    Buffer.from('{}'),
  )
  await vi.waitFor(() =>
    expect(client.errors).toEqual([{ streamId: 0, code: 3, message: expect.stringContaining('[PSYNC_S2004]') }]),
  )
})
