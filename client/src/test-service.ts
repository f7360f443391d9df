import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { Duplex } from 'node:stream'

/** Makes an unsigned token. The client only reads tokens. */
export function unsigned(sub: string, seconds = 3_600, claims: object = {}): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const iat = Math.floor(Date.now() / 1_000)
  return `${part({ alg: 'none' })}.${part({ sub, iat, exp: iat + seconds, ...claims })}.x`
}

export interface Answer {
  status?: number
  type?: string
  location?: string
  body?: string | Uint8Array
}

export interface Posted {
  path: string
  authorization: string
  body: string
}

/** The server's side of one WebSocket. */
export interface ServerSocket {
  send(line: object): void
  close(code: number): void
  /** Frames of the client, as JSON. */
  readonly frames: unknown[]
  readonly open: boolean
}

/**
 * Takes the place of the sync service and of the application's backend in tests of the client alone. The test decides
 * what it answers.
 */
export class TestService {
  readonly #server: Server
  readonly #streams = new Set<Duplex>()
  readonly posts: Posted[] = []
  readonly checkpoints: string[] = []
  readonly sockets: ServerSocket[] = []
  upload: (post: Posted) => Answer | Promise<Answer> = () => ({ body: '{"ok":true}' })
  checkpoint: () => Answer | Promise<Answer> = () => ({ body: '{"data":{"write_checkpoint":"1"}}' })
  /** Returns the answer to a GET. */
  page: (path: string) => Answer = () => ({ status: 404 })
  connected: (socket: ServerSocket) => void = () => {}
  /** Answers 404 to WebSockets. */
  withoutSockets = false
  url = ''

  private constructor() {
    this.#server = createServer(async (request, response) => {
      const path = request.url ?? ''
      let body = ''
      for await (const chunk of request) body += String(chunk)
      const post = { path, authorization: request.headers.authorization ?? '', body }
      const checkpoint = path.startsWith('/write-checkpoint2')
      if (checkpoint) this.checkpoints.push(path)
      else if (request.method === 'POST') this.posts.push(post)
      const answer = checkpoint
        ? await this.checkpoint()
        : request.method === 'GET'
          ? this.page(path)
          : await this.upload(post)
      response.writeHead(answer.status ?? 200, {
        'content-type': answer.type ?? 'application/json',
        ...(answer.location === undefined ? {} : { location: answer.location }),
      })
      response.end(answer.body ?? '')
    })
    this.#server.on('upgrade', (request, stream: Duplex) => this.#upgrade(request, stream))
  }

  static async start(): Promise<TestService> {
    const service = new TestService()
    await new Promise<void>((resolve) => service.#server.listen(0, '127.0.0.1', resolve))
    const address = service.#server.address()
    if (address === null || typeof address === 'string') throw new Error('no port')
    service.url = `http://127.0.0.1:${address.port}`
    return service
  }

  async close(): Promise<void> {
    for (const stream of this.#streams) stream.destroy()
    this.#server.closeAllConnections()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }

  #upgrade(request: IncomingMessage, stream: Duplex): void {
    this.#streams.add(stream)
    stream.on('error', () => {})
    if (this.withoutSockets) return void stream.end('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n')
    const accept = createHash('sha1')
      .update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
      .digest('base64')
    stream.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    )
    const frames: unknown[] = []
    const socket: ServerSocket = {
      frames,
      send: (line) => void stream.write(frame(1, Buffer.from(JSON.stringify(line)))),
      close: (code) => void stream.write(frame(8, Buffer.from([code >> 8, code & 255]))),
      get open() {
        return !stream.destroyed
      },
    }
    this.sockets.push(socket)
    let greeted = false
    let buffered = Buffer.alloc(0)
    stream.on('data', (bytes: Buffer) => {
      buffered = Buffer.concat([buffered, bytes])
      for (let next = unmasked(buffered); next; next = unmasked(buffered)) {
        buffered = buffered.subarray(next.length)
        if (next.opcode === 8) return void stream.end(frame(8, next.payload))
        if (next.opcode !== 1) continue
        frames.push(JSON.parse(next.payload.toString()))
        if (!greeted) this.connected(socket)
        greeted = true
      }
    })
  }
}

/** Makes a frame from server to client, which is not masked (RFC 6455, 5.2). */
function frame(opcode: number, payload: Buffer): Buffer {
  const size = payload.length
  const head =
    size < 126
      ? [size]
      : size < 65_536
        ? [126, size >> 8, size & 255]
        : [127, 0, 0, 0, 0, size >>> 24, (size >> 16) & 255, (size >> 8) & 255, size & 255]
  return Buffer.concat([Buffer.from([0x80 | opcode, ...head]), payload])
}

function unmasked(bytes: Buffer): { opcode: number; payload: Buffer; length: number } | null {
  if (bytes.length < 2) return null
  const [first = 0, second = 0] = bytes
  const short = second & 127
  const extra = short === 126 ? 2 : short === 127 ? 8 : 0
  if (bytes.length < 2 + extra + 4) return null
  const size = extra === 0 ? short : extra === 2 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2))
  const start = 2 + extra + 4
  if (bytes.length < start + size) return null
  const mask = bytes.subarray(2 + extra, start)
  const payload = Buffer.from(bytes.subarray(start, start + size).map((byte, i) => byte ^ (mask[i % 4] ?? 0)))
  return { opcode: first & 15, payload, length: start + size }
}
