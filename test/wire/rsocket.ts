import { deserialize, serialize } from 'bson'
import type { SyncLine } from '../../protocol/lines.ts'
import { RawWebSocket } from './web-socket.ts'

export interface RSocketFrame {
  streamId: number
  type: number
  flags: number
  /** Behind the head. */
  body: Buffer
}

export const SETUP = 1
export const KEEPALIVE = 3
export const REQUEST_STREAM = 6
export const REQUEST_N = 8
export const CANCEL = 9
export const PAYLOAD = 10
export const ERROR = 11

export interface SetupOptions {
  token?: string | undefined
  mime?: string
  flags?: number
  keepaliveMs?: number
  lifetimeMs?: number
  /** Instead of the usual metadata. */
  metadata?: unknown
}

/**
 * Written for these tests alone, from the protocol and not from the server's code, so that a mistake in that cannot
 * hide here.
 */
export class RSocketClient {
  readonly socket: RawWebSocket
  #mime = 'application/json'

  constructor(socket: RawWebSocket) {
    this.socket = socket
  }

  static async open(endpoint: string, path?: string, signal?: AbortSignal): Promise<RSocketClient> {
    return new RSocketClient(await RawWebSocket.open(endpoint, path, signal))
  }

  frame(streamId: number, type: number, flags: number, ...parts: Uint8Array[]): void {
    this.socket.send(Buffer.concat([uint(4, streamId), uint(2, (type << 10) | flags), ...parts]))
  }

  setup({
    token,
    mime = 'application/json',
    flags = 0,
    keepaliveMs = 20_000,
    lifetimeMs = 90_000,
    metadata,
  }: SetupOptions): void {
    this.#mime = mime
    const name = Buffer.from(mime)
    const times = [uint(2, 1), uint(2, 0), uint(4, keepaliveMs), uint(4, lifetimeMs)]
    const payload = this.encode(metadata ?? { token: `Token ${token}`, user_agent: 'wire-test' })
    const mimes = [uint(1, name.length), name, uint(1, name.length), name]
    this.frame(0, SETUP, flags | 0x100, ...times, ...mimes, uint(3, payload.length), payload)
  }

  request(
    n: number,
    body: unknown,
    { streamId = 1, path = '/sync/stream' }: { streamId?: number; path?: string } = {},
  ): void {
    const metadata = this.encode({ path })
    this.frame(streamId, REQUEST_STREAM, 0x100, uint(4, n), uint(3, metadata.length), metadata, this.encode(body))
  }

  requestN(n: number, streamId = 1): void {
    this.frame(streamId, REQUEST_N, 0, uint(4, n))
  }

  keepalive(data = Buffer.alloc(0), respond = true): void {
    this.frame(0, KEEPALIVE, respond ? 0x80 : 0, Buffer.alloc(8), data)
  }

  encode(value: unknown): Uint8Array {
    if (this.#mime !== 'application/bson') return Buffer.from(JSON.stringify(value))
    return serialize(value as Record<string, unknown>)
  }

  async next(): Promise<RSocketFrame | { closed: number }> {
    const message = await this.socket.next()
    if (typeof message === 'string') throw new Error(`a text message: ${message}`)
    if ('closed' in message) return message
    const bytes = Buffer.from(message)
    const head = bytes.readUInt16BE(4)
    return { streamId: bytes.readUInt32BE(0), type: head >> 10, flags: head & 0x3ff, body: bytes.subarray(6) }
  }

  /** Frames until one of this type, which is answered. */
  async until(type: number): Promise<RSocketFrame> {
    for (;;) {
      const frame = await this.next()
      if ('closed' in frame) throw new Error(`closed with ${frame.closed}`)
      if (frame.type === ERROR && type !== ERROR) throw new Error(errorOf(frame).message)
      if (frame.type === type) return frame
    }
  }

  /** The next line, or null at the end of the stream. */
  async line(): Promise<SyncLine | null> {
    const frame = await this.until(PAYLOAD)
    return frame.flags & 0x40 ? null : lineOf(frame)
  }
}

export const lineOf = (frame: RSocketFrame): SyncLine => deserialize(frame.body) as SyncLine

export const errorOf = ({ streamId, body }: RSocketFrame): { streamId: number; code: number; message: string } => ({
  streamId,
  code: body.readUInt32BE(0),
  message: body.subarray(4).toString('utf8'),
})

function uint(bytes: 1 | 2 | 3 | 4, value: number): Buffer {
  const buffer = Buffer.alloc(bytes)
  buffer.writeUIntBE(value, 0, bytes)
  return buffer
}
