import { RockpoolError } from '../../../protocol/errors.ts'
import { verifyChain } from '../tls/chain/index.ts'
import { connectTls, type Transport } from '../tls/connection.ts'
import { SourceSocket } from './source-socket.ts'
import type { HostPort, SslMode } from './source-url.ts'

export interface OwnTlsOptions {
  sslmode: SslMode
  /** DER of the certificates of DATABASE_CA. */
  authorities: readonly Uint8Array[]
  /** Ends the handshake, and nothing later. */
  signal: AbortSignal
}

/**
 * TLS of our own over a connection whose server has just said that it speaks TLS. It has to be the host of the URL, by an authority of DATABASE_CA; with
 * `verify-ca` any server of these authorities. Public authorities count for nothing here. Closes the transport when it throws: ROCKPOOL_SOURCE_TLS for a
 * server that does not prove who it is, ROCKPOOL_SOURCE_SETTINGS for one that cannot be spoken with as it is set up, ROCKPOOL_SOURCE_UNREACHABLE for one
 * that breaks off.
 */
export async function openOwnTls(transport: Transport, address: HostPort, options: OwnTlsOptions): Promise<SourceSocket> {
  const { sslmode, authorities: anchors, signal } = options
  // `require` and everything weaker mean this too, as without DATABASE_CA: less than the name is verified only when that is said.
  const mode = sslmode === 'verify-ca' ? 'ca' : 'full'
  const { host } = address
  try {
    const tls = await connectTls(transport, {
      host,
      signal,
      verify: (chain) => void verifyChain({ chain, anchors, host, mode, now: Date.now() }),
    })
    const [certificate] = tls.peerCertificates
    return new SourceSocket(tls, {
      authorized: mode === 'full',
      ...(certificate === undefined ? {} : { certificate }),
      explain: (error) => named(error, address),
    })
  } catch (error) {
    throw named(error, address)
  }
}

/** Says of whom an error speaks. */
function named(error: unknown, { host, port }: HostPort): unknown {
  if (!(error instanceof RockpoolError)) return error
  const { code, details, message } = error
  const text = message.startsWith('TLS: ') ? message.slice('TLS: '.length) : message
  return new RockpoolError(code, `TLS with ${host}:${port}: ${text}`, { cause: error, ...(details === undefined ? {} : { details }) })
}
