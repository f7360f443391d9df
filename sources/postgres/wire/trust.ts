import { RockpoolError } from '../../../protocol/errors.ts'
import { isRootsName, isSelfSigned, rootsFor, rootsOfHost, type RootsName } from '../roots/index.ts'
import { readAuthorities } from '../tls/chain/index.ts'
import { isLoopback, type SourceUrl } from './source-url.ts'

/** Who vouches for a server. Except with the public authorities, TLS is ours. */
export type Trust =
  | { by: 'public' }
  /** DER of the certificates that count. `named`: those that are shipped, and not written out in DATABASE_CA. */
  | { by: 'authorities'; anchors: readonly Uint8Array[]; named: RootsName | null }
  /** Nobody: any certificate is taken, and a login that is bound to it is the proof. `said`: for people. */
  | { by: 'login'; said: string }

export const PUBLIC: Trust = { by: 'public' }

export type Trusting = Pick<SourceUrl, 'hosts' | 'sslmode' | 'saidMode' | 'systemRoots' | 'channelBinding'>

/**
 * Returns who vouches for each host of the URL, in its order: DATABASE_CA (`ca`), else what is known about the host.
 * Throws ROCKPOOL_SETTINGS for a DATABASE_CA that cannot be read, or that contradicts the URL. DATABASE_CA does not
 * apply to a database on this machine without TLS.
 */
export function trustOf(source: Trusting, ca: string | undefined): Trust[] {
  const { hosts, sslmode } = source
  const given = ca?.trim()
  if (given !== undefined && sslmode === 'disable' && !hosts.every(isLoopback)) {
    throw contradiction('names the authority of a certificate', 'sslmode=disable, which uses none')
  }
  if (given === 'none') return hosts.map(() => byLogin(source))
  if (given === undefined || isRootsName(given))
    return hosts.map(({ host }) => (given === undefined ? found(source, host) : named(given, host)))
  const anchors = readAuthorities(given)
  return hosts.map(() => ({ by: 'authorities', anchors, named: null }))
}

/** Returns what is known about a host. A URL that explicitly asks for less, or for something else, wins. */
function found({ sslmode, saidMode, systemRoots, channelBinding }: Trusting, host: string): Trust {
  // `prefer` remains from earlier versions, and works as it did.
  if (systemRoots || sslmode === 'disable' || sslmode === 'prefer') return PUBLIC
  const roots = rootsOfHost(host)
  if (roots !== null) return named(roots, host)
  // An explicit request for verification is honoured, and its error contains advice.
  const verified = saidMode === 'verify-full' || saidMode === 'verify-ca' || channelBinding === 'disable'
  return isSelfSigned(host) && !verified
    ? { by: 'login', said: 'a bound login, the only proof of a server with a self-signed certificate,' }
    : PUBLIC
}

const named = (name: RootsName, host: string): Trust => ({
  by: 'authorities',
  anchors: rootsFor(name, host),
  named: name,
})

function byLogin({ saidMode, systemRoots, channelBinding }: Trusting): Trust {
  const means = 'accepts any certificate, with a login that is bound to it as the proof'
  if (systemRoots) throw contradiction(means, 'sslrootcert=system')
  if (saidMode === 'verify-full' || saidMode === 'verify-ca') throw contradiction(means, `sslmode=${saidMode}`)
  if (channelBinding === 'disable') throw contradiction(means, 'channel_binding=disable')
  return { by: 'login', said: 'DATABASE_CA=none' }
}

const contradiction = (ca: string, url: string): RockpoolError =>
  new RockpoolError('ROCKPOOL_SETTINGS', `DATABASE_CA ${ca}, and DATABASE_URL says ${url}: remove one of them`)
