import { RockpoolError } from '../../../protocol/errors.ts'
import type { RootsName } from '../roots/index.ts'
import { verifyChain } from '../tls/chain/index.ts'
import { isRefusal } from '../tls/chain/refusal.ts'
import { connectTls, type Transport } from '../tls/connection.ts'
import { shownAddress } from './address.ts'
import { SourceSocket } from './source-socket.ts'
import type { HostPort, SslMode } from './source-url.ts'
import type { Trust } from './trust.ts'

/** The kinds of trust that the runtime's TLS does not support. */
export type OwnTrust = Exclude<Trust, { by: 'public' }>

export interface OwnTlsOptions {
  sslmode: SslMode
  trust: OwnTrust
  /** True when TLS begins without an SSLRequest. */
  direct?: boolean | undefined
  /** Aborts the handshake. It has no effect later. */
  signal: AbortSignal
}

/**
 * Starts our own TLS on a connection whose server has just answered that it speaks TLS (with `direct` it was not
 * asked). The certificate must be for the host of the URL and from an authority of its `trust`; with `verify-ca` any
 * certificate of these authorities will do; where only the login proves the server, any certificate at all. Public
 * authorities are not trusted here. Closes the transport when it throws: ROCKPOOL_SOURCE_TLS for a server that does not
 * prove its identity, ROCKPOOL_SOURCE_SETTINGS for one whose configuration does not fit, ROCKPOOL_SOURCE_UNREACHABLE
 * for one that breaks off.
 */
export async function openOwnTls(
  transport: Transport,
  address: HostPort,
  options: OwnTlsOptions,
): Promise<SourceSocket> {
  const { sslmode, trust, signal, direct = false } = options
  // `require` and everything weaker verify the name too, as without DATABASE_CA. Only an explicit verify-ca verifies
  // less.
  const mode = sslmode === 'verify-ca' ? 'ca' : 'full'
  const { host } = address
  const verify = (chain: Uint8Array[]) => {
    if (trust.by === 'authorities') verifyChain({ chain, anchors: trust.anchors, host, mode, now: Date.now() })
  }
  try {
    const tls = await connectTls(transport, { host, signal, verify })
    // Without ALPN this might be a server of another protocol with the same certificate.
    if (direct && tls.alpn !== 'postgresql') {
      await tls.close()
      throw new RockpoolError(
        'ROCKPOOL_SOURCE_SETTINGS',
        `the server does not say that it speaks Postgres (ALPN). ${NOT_DIRECT}`,
      )
    }
    const [certificate] = tls.peerCertificates
    return new SourceSocket(tls, {
      authorized: trust.by === 'authorities' && mode === 'full',
      ...(certificate === undefined ? {} : { certificate }),
      tls: { version: tls.version, suite: tls.suite, group: tls.group },
      explain: (error) => located(error, address, trust),
    })
  } catch (error) {
    throw located(direct ? advised(error) : error, address, trust)
  }
}

const NOT_DIRECT = 'sslnegotiation=direct is for Postgres 17 and newer: remove it from the URL for older versions'

/** Adds advice to an error, because an older server takes the first TLS record for a broken packet and hangs up. */
function advised(error: unknown): unknown {
  if (!(error instanceof RockpoolError) || error.code !== 'ROCKPOOL_SOURCE_UNREACHABLE') return error
  return new RockpoolError(error.code, `${error.message}. ${NOT_DIRECT}`, { cause: error })
}

const SHIPPED: Record<RootsName, string> = { supabase: 'Supabase', rds: 'Amazon RDS' }

/**
 * Adds the address to an error, and the name of the authorities that were asked when DATABASE_CA does not contain them.
 */
function located(error: unknown, address: HostPort, trust: OwnTrust): unknown {
  if (!(error instanceof RockpoolError)) return error
  const { code, details, message } = error
  const text = message.startsWith('TLS: ') ? message.slice('TLS: '.length) : message
  const whose =
    trust.by === 'authorities' && trust.named !== null && isRefusal(error, 'authority')
      ? `. The authorities are those that Rockpool ships for ${SHIPPED[trust.named]}; certificates in DATABASE_CA replace them`
      : ''
  return new RockpoolError(code, `TLS with ${shownAddress(address)}: ${text}${whose}`, {
    cause: error,
    ...(details === undefined ? {} : { details }),
  })
}
