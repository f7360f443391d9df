import type { Certificate } from './certificate.ts'
import { sameBytes } from './der.ts'
import { type Host, isAnotherHost, patternMatches, parseHost } from './hosts.ts'
import { commonNames, shown, type GeneralName } from './names.ts'
import { refuse } from './refusal.ts'

/**
 * Throws `name` unless an alternative name of the leaf is for this host, in our reading and in the runtime's. The subject never counts. `profile`: a
 * certificate that authorities vouch for must not show another host in its subject (CN) than among its alternative names.
 */
export function checkServerName(leaf: Certificate, host: string, profile: boolean): void {
  const wanted = parseHost(host)
  if (wanted === null) return refuse('name', `"${shown(host)}" is neither the name of a host nor an address, so no certificate is for it`)
  const names = leaf.extensions.alternativeNames?.names ?? []
  if (!names.some((name) => isFor(name, wanted)) || !runtimeAgrees(leaf, wanted)) {
    const list = names.slice(0, 20).map(showGeneralName).join(', ') + (names.length > 20 ? ', …' : '')
    refuse(
      'name',
      `${leaf.who} is for ${list === '' ? 'no host (it has no alternative names; the subject does not count)' : list}, and not for ${wanted.value}. ` +
        'Connect to a host that it names, have it made again with this one, or set sslmode=verify-ca if this authority vouches for your database alone',
    )
  }
  const texts = (kind: GeneralName['kind']) => names.filter((name) => name.kind === kind).map(showGeneralName)
  const stray = commonNames(leaf.subject).find((name) => isAnotherHost(name, texts('dns'), texts('ip')))
  if (profile && stray !== undefined)
    refuse(
      'form',
      `${leaf.who} is for the host ${shown(stray)} by its subject (CN), and its alternative names do not say so. Have it made again with that name among them`,
    )
}

function isFor(name: GeneralName, host: Host): boolean {
  if (host.kind === 'ip') return name.kind === 'ip' && sameBytes(name.bytes, host.bytes)
  return name.kind === 'dns' && patternMatches(name.value.toLowerCase(), host.value)
}

function runtimeAgrees({ x509 }: Certificate, { kind, value }: Host): boolean {
  const answer = kind === 'ip' ? x509.checkIP(value) : x509.checkHost(value, { subject: 'never', partialWildcards: false })
  return answer !== undefined
}

/** As it would stand in a subject. */
function showGeneralName(name: GeneralName): string {
  switch (name.kind) {
    case 'dns':
      return shown(name.value)
    case 'ip':
      return name.bytes.length === 4 ? name.bytes.join('.') : showIpv6(name.bytes)
    case 'directory':
      return '(a directory name)'
    case 'other':
      return '(a name of another kind)'
  }
}

/** As RFC 5952 writes it, which is what a URL does. */
function showIpv6(bytes: Uint8Array): string {
  const groups = Array.from({ length: 8 }, (_, i) => (((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0)).toString(16))
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1)
}
