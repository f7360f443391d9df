import { X509Certificate } from 'node:crypto'
import { TLSSocket } from 'node:tls'
import { parseSourceUrl, trustOf, type Trust } from '../sources/postgres/index.ts'
import { openNodeSocket } from '../sources/postgres/wire/node-socket.ts'
import { SourceSocket } from '../sources/postgres/wire/source-socket.ts'
import { shownAddress } from '../sources/postgres/wire/address.ts'

/** How long a host is waited for that has just answered. */
const CONNECT_MS = 10_000

/**
 * How the connections to each host of the URL are encrypted, and what the edge makes of it; for people, a line for
 * each. A host that does not answer is left out: that is told elsewhere.
 */
export async function encryptionOf(url: string, ca: string | undefined): Promise<string[]> {
  const source = parseSourceUrl(url)
  const trust = trustOf(source, ca)
  const lines: string[] = []
  for (const [i, address] of source.hosts.entries()) {
    const by = trust[i]
    if (by === undefined) continue
    if (source.sslmode === 'disable') {
      lines.push(`${shownAddress(address)}: plain text, here and on the edge`)
      continue
    }
    const { sslmode, direct } = source
    const socket = await openNodeSocket(address, {
      sslmode,
      direct,
      trust: by,
      signal: AbortSignal.timeout(CONNECT_MS),
    }).catch(() => null)
    if (socket === null) continue
    lines.push(`${shownAddress(address)}: ${described(socket, by)}. ${onTheEdge(by)}`)
    socket.destroy()
  }
  return lines
}

function described(socket: unknown, trust: Trust): string {
  if (socket instanceof SourceSocket && socket.tls !== null && socket.certificate !== null) {
    const { version, suite, group } = socket.tls
    return `${version}, ${suite}, ${group}, ${certificateOf(new X509Certificate(socket.certificate))}${trust.by === 'login' ? ', which nobody vouches for' : ''}`
  }
  if (!(socket instanceof TLSSocket)) return 'plain text'
  const key: object | null = socket.getEphemeralKeyInfo()
  const group = key !== null && 'name' in key ? String(key.name) : 'no group'
  const certificate = socket.getPeerX509Certificate()
  const version = (socket.getProtocol() ?? 'TLS').replace('TLSv', 'TLS ')
  return `${version}, ${socket.getCipher().standardName}, ${group}, ${certificate ? certificateOf(certificate) : 'no certificate'}`
}

/** What is signed with, and by whom. */
function certificateOf({ publicKey, issuer }: X509Certificate): string {
  const { modulusLength, namedCurve } = publicKey.asymmetricKeyDetails ?? {}
  const kind = (publicKey.asymmetricKeyType ?? '').toUpperCase()
  return `${[kind, modulusLength ?? namedCurve].filter((part) => part !== undefined).join(' ')} certificate by "${issuer.replaceAll('\n', ', ')}"`
}

function onTheEdge(trust: Trust): string {
  switch (trust.by) {
    case 'public':
      return 'On the edge TLS is that of Cloudflare, with public authorities and the name of the host'
    case 'login':
      return 'On the edge the same code accepts any certificate, and the login, bound to it, is the proof'
    case 'authorities':
      return `On the edge the same code asks the same authorities: ${trust.named === null ? 'those of DATABASE_CA' : `those that are shipped (${trust.named})`}`
  }
}
