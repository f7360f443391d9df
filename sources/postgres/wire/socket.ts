import { connect } from 'cloudflare:sockets'
import { RockpoolError } from '../../../protocol/errors.ts'
import { bracketed, shownAddress } from './address.ts'
import type { OpenSocket } from './connection.ts'
import { openOwnTls } from './own-tls.ts'
import { SourceSocket } from './source-socket.ts'
import type { HostPort } from './source-url.ts'
import { answersTls, SSL_REQUEST } from './tls.ts'

/** Opens a connection: `connect` of the runtime, or of a binding. */
type Connect = (address: { hostname: string; port: number }, options: SocketOptions) => Socket

/**
 * Opens a socket of workerd, ready for the startup packet. `startTls` of workerd verifies the certificate against the
 * public authorities and the name of the host. It supports no other authority and cannot skip the check, so it is never
 * weaker than `verify-full`. When another authority vouches for the server, TLS is ours.
 */
export const openSocket: OpenSocket = openWith(connect)

/**
 * Returns the same through SOURCE_BINDING where it is set: a VPC network, or any other binding with `connect()`, which
 * reaches private hosts. Throws ROCKPOOL_SETTINGS for another kind of binding.
 */
export function socketOf({ SOURCE_BINDING: binding }: { SOURCE_BINDING?: unknown }): OpenSocket {
  if (binding === undefined || binding === null) return openSocket
  if (!isConnecting(binding))
    throw new RockpoolError(
      'ROCKPOOL_SETTINGS',
      'SOURCE_BINDING: it must be a binding with connect(), such as a VPC network',
    )
  return openWith((address, options) => binding.connect(address, options))
}

const isConnecting = (binding: unknown): binding is { connect: Connect } =>
  ((typeof binding === 'object' && binding !== null) || typeof binding === 'function') &&
  'connect' in binding &&
  typeof binding.connect === 'function'

function openWith(connecting: Connect): OpenSocket {
  return async (address, { sslmode, trust, direct, signal }) => {
    const tls = sslmode !== 'disable'
    const own = tls && trust.by !== 'public'
    const to = { hostname: bracketed(address.host), port: address.port }
    const raw = connecting(to, { secureTransport: tls && !own ? 'starttls' : 'off', allowHalfOpen: false })
    const cancel = () => void raw.close().catch(() => {})
    signal.addEventListener('abort', cancel, { once: true })
    try {
      await raw.opened
      if (own && direct) return await openOwnTls(raw, address, { sslmode, trust, direct, signal })
      if (!tls || !answersTls(await askTls(raw), sslmode, address, trust))
        return new SourceSocket(raw, { authorized: false })
      if (own) return await openOwnTls(raw, address, { sslmode, trust, signal })
      // A handshake may fail as late as at the first bytes.
      const explain = (error: unknown, received: boolean) => (received ? error : tlsFailure(address, error))
      return new SourceSocket(await secured(raw, address), { authorized: true, explain })
    } catch (error) {
      cancel()
      throw error
    } finally {
      signal.removeEventListener('abort', cancel)
    }
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
    // The next step, plain or TLS, takes over the streams.
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

function tlsFailure(address: HostPort, error: unknown): RockpoolError {
  return new RockpoolError(
    'ROCKPOOL_SOURCE_SETTINGS',
    `TLS with ${shownAddress(address)} failed: ${error instanceof Error ? error.message : String(error)}. Cloudflare Workers accept only certificates of public authorities for exactly this host name, regardless of sslmode. Set DATABASE_CA to the certificate of its authority to use that one instead; see docs/deploy.md`,
    { cause: error },
  )
}
