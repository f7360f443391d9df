import { once } from 'node:events'
import { connect } from 'node:net'
import { Duplex } from 'node:stream'
import type { Transport } from '../../sources/postgres/tls/connection.ts'

/** A TCP connection of Node in the shape of one of workerd. */
export async function nodeTransport(port: number): Promise<Transport> {
  const socket = connect({ host: '127.0.0.1', port })
  await once(socket, 'connect')
  socket.on('error', () => {})
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  const { readable, writable } = Duplex.toWeb(socket) as unknown as Pick<Transport, 'readable' | 'writable'>
  return { readable, writable, closed, close: async () => socket.destroySoon() }
}
