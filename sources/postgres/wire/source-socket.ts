import { Buffer } from 'node:buffer'
import { EventEmitter } from 'node:events'
import type { Transport } from '../tls/connection.ts'

/**
 * Bytes of a read. Without our own buffer it would be 4 KB, and each read waits for its turn among the other work of
 * the object.
 */
const READ_BYTES = 64 * 1024

export interface AgreedTls {
  version: string
  suite: string
  group: string
}

export interface SourceSocketOptions {
  /** True when TLS proved the server's identity: a trusted authority, and the right name. */
  authorized: boolean
  /** DER of the server's own certificate, when TLS is ours. */
  certificate?: Uint8Array
  /** What our own TLS agreed on. */
  tls?: AgreedTls
  /** Explains an error that happened before the first byte, or (`received`) after it. */
  explain?: (error: unknown, received: boolean) => unknown
}

/**
 * Gives streams the shape of a socket of Node, as far as postgres.js uses one. Unlike workerd's own wrapper it has
 * `pause` and `resume`, without which streaming replication would not be bounded in memory.
 */
export class SourceSocket extends EventEmitter {
  readyState = 'open'
  readonly authorized: boolean
  readonly certificate: Uint8Array | null
  readonly tls: AgreedTls | null
  readonly #transport: Transport
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>
  readonly #explain: (error: unknown, received: boolean) => unknown
  #paused = false
  #received = false
  #resume: () => void = () => {}

  constructor(transport: Transport, { authorized, certificate, tls, explain }: SourceSocketOptions) {
    super()
    this.authorized = authorized
    this.certificate = certificate ?? null
    this.tls = tls ?? null
    this.#explain = explain ?? ((error) => error)
    this.#transport = transport
    this.#writer = transport.writable.getWriter()
    // Each write reports its own failure.
    this.#writer.closed.catch(() => {})
    transport.closed.then(
      () => this.#closed(),
      (error: unknown) => this.#failed(error),
    )
    void this.#read(chunksOf(transport.readable))
  }

  write(data: Uint8Array, done?: () => void): boolean {
    this.#writer.write(data).then(done, (error: unknown) => this.#failed(error))
    return true
  }

  end(data?: Uint8Array): void {
    const close = () => void this.#transport.close().catch(() => {})
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

  /** Emits data until the end, and does not read while paused. */
  async #read(next: () => Promise<Uint8Array | null>): Promise<void> {
    try {
      for (;;) {
        await this.#resumed()
        const chunk = await next()
        if (chunk === null) break
        // This chunk was requested before the pause.
        await this.#resumed()
        this.#received = true
        if (this.readyState === 'closed') return
        this.emit('data', chunk)
      }
      this.#closed()
    } catch (error) {
      this.#failed(error)
    }
  }

  async #resumed(): Promise<void> {
    while (this.#paused) await new Promise<void>((resolve) => (this.#resume = resolve))
  }

  #failed(error: unknown): void {
    if (this.readyState === 'closed') return
    const reason = this.#explain(error, this.#received)
    if (this.listenerCount('error') > 0) this.emit('error', reason)
    this.#closed()
  }

  #closed(): void {
    if (this.readyState === 'closed') return
    this.readyState = 'closed'
    this.emit('close')
  }
}

/** Returns a function that reads chunks, and returns null at the end. The caller may keep a chunk. */
function chunksOf(readable: ReadableStream<Uint8Array>): () => Promise<Buffer | null> {
  let reader: ReadableStreamBYOBReader
  try {
    reader = readable.getReader({ mode: 'byob' })
  } catch {
    // Our own TLS, which does not reuse its chunks.
    const chunks = readable.getReader()
    return async () => {
      const { value } = await chunks.read()
      return value === undefined ? null : Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    }
  }
  let buffer = new ArrayBuffer(READ_BYTES)
  return async () => {
    const { done, value } = await reader.read(new Uint8Array(buffer))
    if (done) return null
    // Copies a short chunk, so that the receiver does not keep a nearly empty buffer.
    const full = value.byteLength > READ_BYTES / 4
    buffer = full ? new ArrayBuffer(READ_BYTES) : value.buffer
    return full ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : Buffer.from(value)
  }
}
