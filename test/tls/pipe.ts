import type { Transport } from '../../sources/postgres/tls/connection.ts'

/** The server's end of a connection in memory. */
export interface ServerEnd {
  /** Each call is one read of the client. */
  write(bytes: Uint8Array): void
  /** Bytes that the client sent, as many as asked for. Null when it has closed the connection before. */
  read(length: number): Promise<Uint8Array | null>
  end(): void
  reset(error: Error): void
  /** Fulfilled when the client has closed the connection. */
  readonly closed: Promise<void>
}

/**
 * A connection in memory. What the client reads comes exactly as it was written. `buffered`: into a buffer of its own,
 * as in workerd.
 */
export function pipe(buffered = false): { client: Transport; server: ServerEnd } {
  let controller: ReadableStreamDefaultController<Uint8Array> | ReadableByteStreamController
  const closed = Promise.withResolvers<void>()
  let received = new Uint8Array()
  let wake = Promise.withResolvers<void>()
  let over = false
  let ended = false
  const wakeUp = () => {
    wake.resolve()
    wake = Promise.withResolvers<void>()
  }
  const close = async () => {
    over = true
    closed.resolve()
    wakeUp()
  }
  const guarded = (work: () => void) => {
    if (!over && !ended) work()
  }
  return {
    client: {
      readable: buffered
        ? new ReadableStream({ type: 'bytes', start: (of) => void (controller = of) })
        : new ReadableStream<Uint8Array>({ start: (of) => void (controller = of) }),
      writable: new WritableStream<Uint8Array>({
        write: (bytes) => {
          received = new Uint8Array(Buffer.concat([received, bytes]))
          wakeUp()
        },
      }),
      closed: closed.promise,
      close,
    },
    server: {
      // A copy: the client may keep what it is given.
      write: (bytes) => guarded(() => controller.enqueue(new Uint8Array(bytes))),
      read: async (length) => {
        while (received.length < length) {
          if (over) return null
          await wake.promise
        }
        const found = received.slice(0, length)
        received = received.slice(length)
        return found
      },
      end: () =>
        guarded(() => {
          ended = true
          controller.close()
          // A read that waits hears of it only so.
          if ('byobRequest' in controller) controller.byobRequest?.respond(0)
        }),
      reset: (error) => guarded(() => controller.error(error)),
      closed: closed.promise,
    },
  }
}
