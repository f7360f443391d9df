import { Buffer } from 'node:buffer'
import { EventEmitter } from 'node:events'
import type { Transport } from '../tls/connection.ts'

/** Bytes of a read: without a buffer of ours it is 4 KB, and each read waits for its turn among everything else that the object does. */
const READ_BYTES = 64 * 1024

export interface AgreedTls {
  version: string
  suite: string
  group: string
}

export interface SourceSocketOptions {
  /** TLS proved who answers: by an authority that is trusted, and by name. */
  authorized: boolean
  /** DER of the server's own certificate, where TLS is ours. */
  certificate?: Uint8Array
  /** What TLS of ours agreed on. */
  tls?: AgreedTls
  /** What an error means that came before the first byte, or (`received`) after it. */
  explain?: (error: unknown, received: boolean) => unknown
}

/**
 * Streams in the shape of a socket of Node's, as far as postgres.js uses one, with what workerd's own wrapper lacks: `pause` and `resume`. Streaming
 * replication needs them, and memory would not be bounded without them.
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
    // Each write says itself when it fails.
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

  /** Emits what comes until the end, with nothing read while paused. */
  async #read(next: () => Promise<Uint8Array | null>): Promise<void> {
    try {
      for (;;) {
        await this.#resumed()
        const chunk = await next()
        if (chunk === null) break
        // It was asked for before the pause.
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

/** Whoever gets a chunk may keep it. Null at the end. */
function chunksOf(readable: ReadableStream<Uint8Array>): () => Promise<Buffer | null> {
  let reader: ReadableStreamBYOBReader
  try {
    reader = readable.getReader({ mode: 'byob' })
  } catch {
    // TLS of ours, whose chunks are its own.
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
    // A buffer that is nearly empty is not for the receiver.
    const full = value.byteLength > READ_BYTES / 4
    buffer = full ? new ArrayBuffer(READ_BYTES) : value.buffer
    return full ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : Buffer.from(value)
  }
}
