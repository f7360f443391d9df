import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import type { Transport } from '../tls/connection.ts'

/** Milliseconds that the last bytes may take to be sent. */
const LAST_BYTES_MS = 1_000

/** Gives a TCP connection of Node the shape of one of workerd. */
export function nodeTransport(socket: Socket): Transport {
  // Errors surface where the streams are read and written.
  socket.on('error', () => {})
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  const { readable, writable } = Duplex.toWeb(socket) as unknown as Pick<Transport, 'readable' | 'writable'>
  const close = async () => {
    socket.destroySoon()
    // `end` waits for a peer that may not read any more.
    setTimeout(() => socket.destroy(), LAST_BYTES_MS).unref()
  }
  return { readable, writable, closed, close }
}
