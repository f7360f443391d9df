import { EventEmitter } from 'node:events'
import { connect } from 'cloudflare:sockets'
import type { SocketFactory } from './connection.ts'

/**
 * A TCP socket of workerd in the shape of Node's, as far as postgres.js uses it, with what its own wrapper lacks: `pause` and `resume`. Streaming
 * replication needs them, and memory would not be bounded without them. The fields `raw`, `reader`, `writer` and `read` are those that its
 * upgrade to TLS takes over.
 */
class SourceSocket extends EventEmitter {
  raw: Socket
  reader: ReadableStreamDefaultReader<Uint8Array>
  writer: WritableStreamDefaultWriter<Uint8Array>
  readyState = 'open'
  readonly host: string
  readonly port: number
  #paused = false
  #resume: () => void = () => {}

  constructor(raw: Socket, host: string, port: number) {
    super()
    this.raw = raw
    this.host = host
    this.port = port
    this.reader = raw.readable.getReader()
    this.writer = raw.writable.getWriter()
    raw.closed.then(
      () => this.#closed(),
      (error: unknown) => this.#failed(error),
    )
  }

  write(data: Uint8Array, done?: () => void): boolean {
    this.writer.write(data).then(done, (error: unknown) => this.#failed(error))
    return true
  }

  end(data?: Uint8Array): void {
    const close = () => void this.raw.close().catch(() => {})
    if (data) this.write(data, close)
    else close()
  }

  destroy(): void {
    this.end()
    this.#closed()
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.#resume()
  }

  /** Emits what comes until the end, with nothing read while paused. */
  async read(): Promise<void> {
    const reader = this.reader
    try {
      for (;;) {
        while (this.#paused) await new Promise<void>((resolve) => (this.#resume = resolve))
        const { done, value } = await reader.read()
        if (done) break
        this.emit('data', bufferOf(value))
      }
      this.#closed()
    } catch (error) {
      this.#failed(error)
    }
  }

  /** The one byte that answers a request for TLS. Nothing may be reading when the socket is upgraded. */
  async readAnswer(): Promise<void> {
    try {
      const { done, value } = await this.reader.read()
      if (done) return this.#closed()
      this.emit('data', bufferOf(value))
      if (value[0] !== 'S'.charCodeAt(0)) void this.read()
    } catch (error) {
      this.#failed(error)
    }
  }

  #failed(error: unknown): void {
    if (this.readyState === 'closed') return
    if (this.listenerCount('error') > 0) this.emit('error', error)
    this.#closed()
  }

  /** The end of the plain socket is the beginning of TLS when it is being upgraded. */
  #closed(): void {
    if (this.readyState === 'upgrade') {
      this.readyState = 'open'
      this.emit('secureConnect')
      return
    }
    if (this.readyState === 'upgrading') {
      setTimeout(() => this.#closed(), 1)
      return
    }
    if (this.readyState === 'closed') return
    this.readyState = 'closed'
    this.emit('close')
  }
}

const bufferOf = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

export const openSocket: SocketFactory = async ({ host, port, ssl }) => {
  const hostname = host[0] ?? 'localhost'
  const number = Number(port[0] ?? 5432)
  const raw = connect({ hostname, port: number }, { secureTransport: ssl ? 'starttls' : 'off', allowHalfOpen: false })
  await raw.opened
  const socket = new SourceSocket(raw, hostname, number)
  void (ssl ? socket.readAnswer() : socket.read())
  return socket
}
