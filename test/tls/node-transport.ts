import { once } from 'node:events'
import { connect } from 'node:net'
import type { Transport } from '../../sources/postgres/tls/connection.ts'
import { nodeTransport as transportOf } from '../../sources/postgres/wire/node-transport.ts'

/** A TCP connection of Node in the shape of one of workerd. */
export async function nodeTransport(port: number): Promise<Transport> {
  const socket = connect({ host: '127.0.0.1', port })
  await once(socket, 'connect')
  return transportOf(socket)
}
