import { RockpoolError } from '../../../protocol/errors.ts'
import type { RootsName } from '../roots/index.ts'
import { verifyChain } from '../tls/chain/index.ts'
import { isRefusal } from '../tls/chain/refusal.ts'
import { connectTls, type Transport } from '../tls/connection.ts'
import { shownAddress } from './address.ts'
import { SourceSocket } from './source-socket.ts'
import type { HostPort, SslMode } from './source-url.ts'
import type { Trust } from './trust.ts'

/** What the runtime's TLS does not know. */
export type OwnTrust = Exclude<Trust, { by: 'public' }>

export interface OwnTlsOptions {
  sslmode: SslMode
  trust: OwnTrust
  /** Nobody has said yet that TLS is spoken. */
  direct?: boolean | undefined
  /** Ends the handshake, and nothing later. */
  signal: AbortSignal
}

/**
 * TLS of our own over a connection whose server has just said that it speaks TLS (`direct`: was not asked). It has to be the host of the URL, by an authority of its `trust`; with
 * `verify-ca` any server of these authorities; any server at all where only the login proves it. Public authorities count for nothing here. Closes the transport when it throws: ROCKPOOL_SOURCE_TLS for a
 * server that does not prove who it is, ROCKPOOL_SOURCE_SETTINGS for one that cannot be spoken with as it is set up, ROCKPOOL_SOURCE_UNREACHABLE for one
 * that breaks off.
 */
export async function openOwnTls(transport: Transport, address: HostPort, options: OwnTlsOptions): Promise<SourceSocket> {
  const { sslmode, trust, signal, direct = false } = options
  // `require` and everything weaker mean this too, as without DATABASE_CA: less than the name is verified only when that is said.
  const mode = sslmode === 'verify-ca' ? 'ca' : 'full'
  const { host } = address
  const verify = (chain: Uint8Array[]) => {
    if (trust.by === 'authorities') verifyChain({ chain, anchors: trust.anchors, host, mode, now: Date.now() })
  }
  try {
    const tls = await connectTls(transport, { host, signal, verify })
    // Without it whoever answers may be a server of another protocol that has the same certificate.
    if (direct && tls.alpn !== 'postgresql') {
      await tls.close()
      throw new RockpoolError('ROCKPOOL_SOURCE_SETTINGS', `the server does not say that it speaks Postgres (ALPN). ${NOT_DIRECT}`)
    }
    const [certificate] = tls.peerCertificates
    return new SourceSocket(tls, {
      authorized: trust.by === 'authorities' && mode === 'full',
      ...(certificate === undefined ? {} : { certificate }),
      tls: { version: tls.version, suite: tls.suite, group: tls.group },
      explain: (error) => told(error, address, trust),
    })
  } catch (error) {
    throw told(direct ? advised(error) : error, address, trust)
  }
}

const NOT_DIRECT = 'sslnegotiation=direct is for Postgres 17 and newer: take it out of the URL for others'

/** An older server takes the first record of TLS for a broken packet, and hangs up. */
function advised(error: unknown): unknown {
  if (!(error instanceof RockpoolError) || error.code !== 'ROCKPOOL_SOURCE_UNREACHABLE') return error
  return new RockpoolError(error.code, `${error.message}. ${NOT_DIRECT}`, { cause: error })
}

const SHIPPED: Record<RootsName, string> = { supabase: 'Supabase', rds: 'Amazon RDS' }

/** Says of whom an error speaks, and whose authorities were asked when DATABASE_CA does not write them out. */
function told(error: unknown, address: HostPort, trust: OwnTrust): unknown {
  if (!(error instanceof RockpoolError)) return error
  const { code, details, message } = error
  const text = message.startsWith('TLS: ') ? message.slice('TLS: '.length) : message
  const whose =
    trust.by === 'authorities' && trust.named !== null && isRefusal(error, 'authority')
      ? `. The authorities are those that Rockpool ships for ${SHIPPED[trust.named]}; certificates in DATABASE_CA take their place`
      : ''
  return new RockpoolError(code, `TLS with ${shownAddress(address)}: ${text}${whose}`, {
    cause: error,
    ...(details === undefined ? {} : { details }),
  })
}
