import { Alert, TlsError, truncated } from './alerts.ts'
import { Framing } from './framing.ts'
import type { VerifyChain } from './conversation.ts'
import { handshake } from './handshake.ts'
import { newHello, type Hello } from './hello.ts'
import { ContentType } from './parameters.ts'
import { Receiver } from './receiver.ts'
import { Sender } from './sender.ts'

/** Carries the bytes: a socket of workerd, or anything of its shape. The connection takes over its streams. */
export interface Transport {
  readonly readable: ReadableStream<Uint8Array>
  readonly writable: WritableStream<Uint8Array>
  readonly closed: Promise<unknown>
  close(): Promise<unknown>
}

export interface TlsOptions {
  /** The name or the address that the certificate must have. */
  host: string
  verify: VerifyChain
  /** The caller's deadline for the handshake. It has no effect afterwards. */
  signal: AbortSignal
  /** RFC 7301. Postgres 17 and newer supports it. */
  alpn?: string
  /** For tests: the number of records after which our keys change, and a fixed hello. */
  recordsOfAKey?: number
  hello?: Hello
}

export interface TlsSocket {
  /**
   * A chunk is the content of all whole records of one read. Fails with TlsError when the connection ends without a
   * close_notify.
   */
  readonly readable: ReadableStream<Uint8Array>
  /** Closing it closes the connection. */
  readonly writable: WritableStream<Uint8Array>
  /** Resolves when the connection has ended in order, and rejects with the error that ended it otherwise. */
  readonly closed: Promise<void>
  /** Sends a close_notify, and closes the transport. Never throws. */
  close(): Promise<void>
  /** The certificates in DER, as the server sent them, its own first. */
  readonly peerCertificates: Uint8Array[]
  readonly version: 'TLS 1.2' | 'TLS 1.3'
  readonly suite: string
  readonly group: string
  readonly alpn: string | null
}

/** Milliseconds to wait for a server that does not read the last record. */
const LAST_RECORD_MS = 1_000

/**
 * A client of TLS 1.3 (RFC 8446), and of 1.2 (RFC 5246) with its later repairs, over the runtime's crypto: without
 * resumption, early data, renegotiation or client certificates. Throws TlsError: ROCKPOOL_SOURCE_SETTINGS for a server
 * whose configuration does not fit, ROCKPOOL_SOURCE_UNREACHABLE for one that breaks off or violates the protocol;
 * whatever `verify` throws; the reason of `signal`. The transport is closed then.
 */
export async function connectTls(transport: Transport, options: TlsOptions): Promise<TlsSocket> {
  const { host, verify, signal, alpn = 'postgresql', recordsOfAKey } = options
  const framing = new Framing(transport.readable)
  const sender = new Sender(transport.writable, recordsOfAKey)
  transport.closed.then(
    () => framing.gone(),
    () => framing.gone(),
  )
  const shutDown = async (reason: unknown, alert: number | null) => {
    framing.stop(reason)
    if (alert !== null) await atMost(LAST_RECORD_MS, sender.alert(alert))
    await transport.close().catch(() => {})
  }
  try {
    signal.throwIfAborted()
    const made = (async () => handshake(framing, sender, options.hello ?? (await newHello(host, alpn)), host, verify))()
    const agreed = await untilAborted(made, signal)
    const receiver = new Receiver(
      framing,
      agreed.keys,
      agreed.certificateWanted,
      () => void sender.updateKeys().catch(() => {}),
    )
    return {
      ...established(receiver, sender, shutDown),
      peerCertificates: agreed.certificates,
      version: agreed.version,
      suite: agreed.suite,
      group: agreed.group,
      alpn: agreed.alpn,
    }
  } catch (error) {
    void shutDown(error, alertOf(error))
    throw error
  }
}

function established(
  receiver: Receiver,
  sender: Sender,
  shutDown: (reason: unknown, alert: number | null) => Promise<void>,
) {
  const ended = Promise.withResolvers<void>()
  ended.promise.catch(() => {})
  let closing: Promise<void> | null = null
  const close = () => (closing ??= shutDown(truncated(), Alert.closeNotify).then(ended.resolve))
  const fail = (error: unknown) => {
    if (closing) return
    ended.reject(error)
    closing = shutDown(error, alertOf(error))
  }
  const readable = new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        try {
          const data = await receiver.next()
          if (data) return controller.enqueue(data)
          controller.close()
          void close()
        } catch (error) {
          // A caller that closes the connection does not wait for its end.
          if (closing) return controller.close()
          fail(error)
          throw error
        }
      },
      cancel: close,
    },
    { highWaterMark: 0 },
  )
  const writable = new WritableStream<Uint8Array>({
    write: async (chunk) => {
      try {
        await sender.send(ContentType.applicationData, chunk)
      } catch (error) {
        fail(error)
        throw error
      }
    },
    close,
    abort: close,
  })
  return { readable, writable, close, closed: ended.promise }
}

/** Returns the alert to send for an error, or null when the server sent or caused it itself. */
function alertOf(error: unknown): number | null {
  return error instanceof TlsError ? error.alert : Alert.internalError
}

async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>()
  const abort = () => aborted.reject(signal.reason)
  signal.addEventListener('abort', abort, { once: true })
  try {
    return await Promise.race([work, aborted.promise])
  } finally {
    signal.removeEventListener('abort', abort)
    // A later rejection has no handler otherwise.
    work.catch(() => {})
    aborted.promise.catch(() => {})
  }
}

async function atMost(ms: number, work: Promise<unknown>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise((resolve) => (timer = setTimeout(resolve, ms)))
  await Promise.race([work.catch(() => {}), late])
  clearTimeout(timer)
}
