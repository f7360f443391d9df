import type { Socket } from 'node:net'
import type { ServerEnd } from './pipe.ts'

/** The server's end of a TCP connection. */
export function socketEnd(socket: Socket): ServerEnd {
  const closed = Promise.withResolvers<void>()
  socket.on('error', () => {}).once('close', () => closed.resolve())
  socket.setNoDelay(true)
  const gone = closed.promise.then(() => null)
  return {
    write: (bytes) => void socket.write(bytes),
    read: async (length) => {
      for (;;) {
        const found: unknown = socket.read(length)
        // At the end whatever is left comes, be it less.
        if (found instanceof Uint8Array) return found.length === length ? found : null
        if (socket.readableEnded || socket.destroyed) return null
        const readable = new Promise<void>((resolve) => socket.once('readable', resolve))
        if ((await Promise.race([readable, gone])) === null) return null
      }
    },
    end: () => void socket.end(),
    reset: () => void socket.resetAndDestroy(),
    closed: closed.promise,
  }
}
