import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { checkServerIdentity, connect as connectTls, type ConnectionOptions } from 'node:tls'
import { RockpoolError } from '../../../protocol/errors.ts'
import { shownAddress } from './address.ts'
import type { SocketOptions } from './connection.ts'
import type { RawSocket } from './guarded-socket.ts'
import { nodeTransport } from './node-transport.ts'
import { openOwnTls } from './own-tls.ts'
import type { HostPort, SslMode } from './source-url.ts'
import { answersTls, SSL_REQUEST } from './tls.ts'

/**
 * Opens a socket for tools and tests in Node, ready for the startup packet. Unless public authorities vouch for the
 * server, TLS is ours, as in workerd, so that both judge a certificate alike. Throws RockpoolError, or the error of the
 * system.
 */
export async function openNodeSocket(
  address: HostPort,
  { sslmode, trust, direct, signal }: SocketOptions,
): Promise<RawSocket> {
  const socket = await opened(connectTcp({ host: address.host, port: address.port, signal }), 'connect')
  if (sslmode === 'disable') return socket
  try {
    const own = trust.by !== 'public'
    if (!own || !direct) {
      socket.write(SSL_REQUEST)
      if (!answersTls(await firstBytes(socket), sslmode, address, trust)) return socket.resume()
    }
    if (own) return await openOwnTls(nodeTransport(socket), address, { sslmode, trust, direct, signal })
    return await opened(connectTls({ socket, ...tlsOptions(address, sslmode) }), 'secureConnect')
  } catch (error) {
    socket.destroy()
    throw tlsError(error, address)
  }
}

/**
 * Verifies against public authorities and by name, which is all that workerd can do either. `require` only encrypts
 * here, as in libpq.
 */
function tlsOptions({ host }: HostPort, sslmode: SslMode): ConnectionOptions {
  const name = isIP(host) ? {} : { servername: host }
  if (sslmode === 'verify-full' || sslmode === 'verify-ca')
    return { ...name, checkServerIdentity: (_, certificate) => checkServerIdentity(host, certificate) }
  return { ...name, rejectUnauthorized: false }
}

function opened<T extends Socket>(socket: T, event: 'connect' | 'secureConnect'): Promise<T> {
  return new Promise((resolve, reject) => {
    const closed = () => reject(new Error('the connection was closed'))
    socket.once('error', reject)
    socket.once('close', closed)
    socket.once(event, () => {
      socket.off('error', reject)
      socket.off('close', closed)
      resolve(socket)
    })
  })
}

function firstBytes(socket: Socket): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const closed = () => reject(new Error('the connection was closed'))
    socket.once('error', reject)
    socket.once('close', closed)
    socket.once('data', (bytes: Uint8Array) => {
      socket.off('error', reject)
      socket.off('close', closed)
      // Nothing may flow before the next reader listens.
      socket.pause()
      resolve(bytes)
    })
  })
}

function tlsError(error: unknown, address: HostPort): unknown {
  if (error instanceof RockpoolError || !(error instanceof Error)) return error
  const code = 'code' in error ? String(error.code) : ''
  if (!/CERT|ALTNAME|SELF_SIGNED|UNABLE_TO|ISSUER/.test(code)) return error
  return new RockpoolError(
    'ROCKPOOL_SOURCE_SETTINGS',
    `the certificate of ${shownAddress(address)} cannot be verified: ${error.message} (${code}). Set DATABASE_CA to the PEM of the authority that signed it`,
    { cause: error },
  )
}
