import { Buffer } from 'node:buffer'
import { EventEmitter } from 'node:events'
import { connect } from 'cloudflare:sockets'
import { RockpoolError } from '../../../protocol/errors.ts'
import type { OpenSocket } from './connection.ts'
import type { HostPort } from './source-url.ts'
import { answersTls, SSL_REQUEST } from './tls.ts'

/** Bytes of a read: without a buffer of ours it is 4 KB, and each read waits for its turn among everything else that the object does. */
const READ_BYTES = 64 * 1024

/**
 * A TCP socket of workerd in the shape of Node's, as far as postgres.js uses it, with what its own wrapper lacks: `pause` and `resume`. Streaming
 * replication needs them, and memory would not be bounded without them.
 */
class SourceSocket extends EventEmitter {
  readyState = 'open'
  readonly #raw: Socket
  readonly #reader: ReadableStreamBYOBReader
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>
  readonly #secure: HostPort | null
  #paused = false
  #received = false
  #resume: () => void = () => {}

  /** `secure`: whom TLS was just begun with. */
  constructor(raw: Socket, secure: HostPort | null) {
    super()
    this.#secure = secure
    this.#raw = raw
    this.#reader = raw.readable.getReader({ mode: 'byob' })
    this.#writer = raw.writable.getWriter()
    raw.closed.then(
      () => this.#closed(),
      (error: unknown) => this.#failed(error),
    )
    void this.#read()
  }

  /** TLS of workerd is verified, or there is none. */
  get authorized(): boolean {
    return this.#secure !== null
  }

  write(data: Uint8Array, done?: () => void): boolean {
    this.#writer.write(data).then(done, (error: unknown) => this.#failed(error))
    return true
  }

  end(data?: Uint8Array): void {
    const close = () => void this.#raw.close().catch(() => {})
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
  async #read(): Promise<void> {
    let buffer = new ArrayBuffer(READ_BYTES)
    try {
      for (;;) {
        while (this.#paused) await new Promise<void>((resolve) => (this.#resume = resolve))
        const { done, value } = await this.#reader.read(new Uint8Array(buffer))
        if (done) break
        this.#received = true
        // The receiver keeps what it is given: a buffer that is nearly empty is not for it.
        const full = value.byteLength > READ_BYTES / 4
        buffer = full ? new ArrayBuffer(READ_BYTES) : value.buffer
        this.emit('data', full ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : Buffer.from(value))
      }
      this.#closed()
    } catch (error) {
      this.#failed(error)
    }
  }

  #failed(error: unknown): void {
    if (this.readyState === 'closed') return
    // A handshake may fail as late as with the first bytes.
    const reason = this.#secure && !this.#received ? tlsFailure(this.#secure, error) : error
    if (this.listenerCount('error') > 0) this.emit('error', reason)
    this.#closed()
  }

  #closed(): void {
    if (this.readyState === 'closed') return
    this.readyState = 'closed'
    this.emit('close')
  }
}

/**
 * A socket of workerd, ready for the startup packet. `startTls` of workerd verifies the certificate against the public authorities and the name
 * of the host, and can neither be given another authority nor be told to skip it: it is never weaker than `verify-full`.
 */
export const openSocket: OpenSocket = async (address, { sslmode, ca, signal }) => {
  const { host: hostname, port } = address
  const tls = sslmode !== 'disable'
  if (tls && ca !== undefined) {
    throw new RockpoolError(
      'ROCKPOOL_SETTINGS',
      'DATABASE_CA cannot be used on Cloudflare: a Worker trusts the public certificate authorities only, and no other can be added. See docs/deploy.md',
    )
  }
  const raw = connect({ hostname, port }, { secureTransport: tls ? 'starttls' : 'off', allowHalfOpen: false })
  const cancel = () => void raw.close().catch(() => {})
  signal.addEventListener('abort', cancel, { once: true })
  try {
    await raw.opened
    if (!tls || !answersTls(await askTls(raw), sslmode, address)) return new SourceSocket(raw, null)
    return new SourceSocket(await secured(raw, address), address)
  } catch (error) {
    cancel()
    throw error
  } finally {
    signal.removeEventListener('abort', cancel)
  }
}

async function askTls(raw: Socket): Promise<Uint8Array> {
  const writer = raw.writable.getWriter()
  const reader = raw.readable.getReader()
  try {
    await writer.write(SSL_REQUEST)
    const { value } = await reader.read()
    return value ?? new Uint8Array()
  } finally {
    // What follows, plain or TLS, takes the streams over.
    writer.releaseLock()
    reader.releaseLock()
  }
}

async function secured(raw: Socket, address: HostPort): Promise<Socket> {
  const socket = raw.startTls()
  try {
    await socket.opened
    return socket
  } catch (error) {
    throw tlsFailure(address, error)
  }
}

function tlsFailure({ host, port }: HostPort, error: unknown): RockpoolError {
  return new RockpoolError(
    'ROCKPOOL_SOURCE_SETTINGS',
    `TLS with ${host}:${port} failed: ${error instanceof Error ? error.message : String(error)}. Cloudflare Workers accept only certificates of public authorities for exactly this host name, whatever sslmode says; see docs/deploy.md`,
    { cause: error },
  )
}
