import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import type { Transport } from '../tls/connection.ts'

/** How long what was written last may take to leave. */
const LAST_BYTES_MS = 1_000

/** A TCP connection of Node in the shape of one of workerd. */
export function nodeTransport(socket: Socket): Transport {
  // What it says is heard where the streams are read and written.
  socket.on('error', () => {})
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  const { readable, writable } = Duplex.toWeb(socket) as unknown as Pick<Transport, 'readable' | 'writable'>
  const close = async () => {
    socket.destroySoon()
    // It waits for whoever reads nothing any more.
    setTimeout(() => socket.destroy(), LAST_BYTES_MS).unref()
  }
  return { readable, writable, closed, close }
}
