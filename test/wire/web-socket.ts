import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'

export type Message = string | Uint8Array | { closed: number; reason: string }

/**
 * A WebSocket client over a bare TCP socket, because a test must be able to stop reading: no library that comes with
 * Node can. Messages of the server are never fragmented by the runtime under test; if one were, this throws.
 */
export class RawWebSocket {
  readonly #socket: Socket
  readonly #messages: Message[] = []
  #buffer: Buffer = Buffer.alloc(0)
  #wake: () => void = () => {}
  #ended = false

  private constructor(socket: Socket, rest: Buffer) {
    this.#socket = socket
    socket.on('data', (chunk) => this.#receive(chunk))
    socket.on('error', () => {})
    socket.on('close', () => this.#end(1006, ''))
    this.#receive(rest)
  }

  /** `signal` cuts it, also before it is answered. */
  static open(endpoint: string, path = '/sync/stream', signal?: AbortSignal): Promise<RawWebSocket> {
    const { protocol, host, hostname, port, pathname } = new URL(endpoint)
    const secure = protocol === 'https:'
    const options = { port: Number(port) || (secure ? 443 : 80), host: hostname, ...(signal ? { signal } : {}) }
    const socket = secure ? connectTls({ ...options, servername: hostname }) : connect(options)
    const head = [
      `GET ${pathname.replace(/\/$/, '')}${path} HTTP/1.1`,
      ...[`Host: ${host}`, 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13'],
      `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}`,
    ]
    socket.write(`${head.join('\r\n')}\r\n\r\n`)
    return new Promise((resolve, reject) => {
      let received = Buffer.alloc(0)
      socket.once('error', reject)
      // Who dies behind the request closes without an error.
      socket.once('close', () => reject(new Error('the socket was closed before it was answered')))
      const listen = (chunk: Buffer): void => {
        received = Buffer.concat([received, chunk])
        const end = received.indexOf('\r\n\r\n')
        if (end < 0) return
        socket.off('data', listen)
        const status = received.subarray(0, received.indexOf('\r\n')).toString()
        if (!status.includes(' 101 ')) reject(new Error(status))
        else resolve(new RawWebSocket(socket, received.subarray(end + 4)))
      }
      socket.on('data', listen)
    })
  }

  send(message: string | Uint8Array): void {
    this.#frame(typeof message === 'string' ? 1 : 2, Buffer.from(message))
  }

  async next(): Promise<Message> {
    while (this.#messages.length === 0) await new Promise<void>((resolve) => (this.#wake = resolve))
    const message = this.#messages.shift()
    if (message === undefined) throw new Error('no message')
    if (typeof message === 'object' && 'closed' in message) this.#messages.unshift(message)
    return message
  }

  get waiting(): number {
    return this.#messages.length
  }

  /** Stops reading from the network: what the server sends piles up there. */
  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  close(): void {
    this.#frame(8, Buffer.from([3, 232]))
    this.#socket.end()
  }

  /** As when the network goes away. */
  destroy(): void {
    this.#socket.destroy()
  }

  #frame(opcode: number, payload: Buffer): void {
    const mask = randomBytes(4)
    const length = payload.length
    const head =
      length < 126
        ? Buffer.from([0x80 | opcode, 0x80 | length])
        : length < 65_536
          ? Buffer.from([0x80 | opcode, 0xfe, length >> 8, length & 255])
          : Buffer.concat([
              Buffer.from([0x80 | opcode, 0xff, 0, 0, 0, 0]),
              Buffer.from(Uint32Array.of(length).buffer).reverse(),
            ])
    const masked = Buffer.from(payload)
    for (let i = 0; i < length; i++) masked[i] = (masked[i] ?? 0) ^ (mask[i & 3] ?? 0)
    this.#socket.write(Buffer.concat([head, mask, masked]))
  }

  #receive(chunk: Buffer): void {
    this.#buffer = this.#buffer.length === 0 ? chunk : Buffer.concat([this.#buffer, chunk])
    for (;;) {
      const buffer = this.#buffer
      if (buffer.length < 2) return
      const first = buffer[0] ?? 0
      let length = (buffer[1] ?? 0) & 127
      let at = 2
      if (length === 126) {
        if (buffer.length < 4) return
        length = buffer.readUInt16BE(2)
        at = 4
      } else if (length === 127) {
        if (buffer.length < 10) return
        length = Number(buffer.readBigUInt64BE(2))
        at = 10
      }
      if (buffer.length < at + length) return
      const payload = buffer.subarray(at, at + length)
      this.#buffer = buffer.subarray(at + length)
      if ((first & 0x80) === 0 || (first & 15) === 0) throw new Error('a fragmented message')
      this.#message(first & 15, payload)
    }
  }

  #message(opcode: number, payload: Buffer): void {
    if (opcode === 1) this.#push(payload.toString('utf8'))
    else if (opcode === 2) this.#push(new Uint8Array(payload))
    else if (opcode === 9) this.#frame(10, payload)
    else if (opcode === 8) {
      this.#end(payload.length >= 2 ? payload.readUInt16BE(0) : 1005, payload.subarray(2).toString('utf8'))
      this.#socket.end()
    }
  }

  #push(message: Message): void {
    this.#messages.push(message)
    this.#wake()
  }

  #end(closed: number, reason: string): void {
    if (this.#ended) return
    this.#ended = true
    this.#push({ closed, reason })
  }
}
