import type { Certificate } from './certificate.ts'
import { sameBytes } from './der.ts'
import { type Host, isAnotherHost, patternMatches, parseHost } from './hosts.ts'
import { commonNames, shown, type GeneralName } from './names.ts'
import { refuse } from './refusal.ts'

/**
 * Throws `name` unless an alternative name of the leaf matches this host, for us and for the runtime. The subject never
 * counts. With `profile`, a certificate that authorities vouch for must not show a host in its subject (CN) that is not
 * among its alternative names.
 */
export function checkServerName(leaf: Certificate, host: string, profile: boolean): void {
  const wanted = parseHost(host)
  if (wanted === null)
    return refuse('name', `"${shown(host)}" is neither a host name nor an address, so no certificate can match it`)
  const names = leaf.extensions.alternativeNames?.names ?? []
  if (!names.some((name) => isFor(name, wanted)) || !runtimeAgrees(leaf, wanted)) {
    const list = names.slice(0, 20).map(showGeneralName).join(', ') + (names.length > 20 ? ', …' : '')
    refuse(
      'name',
      `${leaf.who} is for ${list === '' ? 'no host (it has no alternative names; the subject does not count)' : list}, and not for ${wanted.value}. ` +
        'Connect to a host that it names, issue it again with this one, or set sslmode=verify-ca if this authority signs certificates of your database only',
    )
  }
  const texts = (kind: GeneralName['kind']) => names.filter((name) => name.kind === kind).map(showGeneralName)
  const stray = commonNames(leaf.subject).find((name) => isAnotherHost(name, texts('dns'), texts('ip')))
  if (profile && stray !== undefined)
    refuse(
      'form',
      `${leaf.who} names the host ${shown(stray)} in its subject (CN), but not among its alternative names. Issue it again with that name among them`,
    )
}

function isFor(name: GeneralName, host: Host): boolean {
  if (host.kind === 'ip') return name.kind === 'ip' && sameBytes(name.bytes, host.bytes)
  return name.kind === 'dns' && patternMatches(name.value.toLowerCase(), host.value)
}

function runtimeAgrees({ x509 }: Certificate, { kind, value }: Host): boolean {
  const answer =
    kind === 'ip' ? x509.checkIP(value) : x509.checkHost(value, { subject: 'never', partialWildcards: false })
  return answer !== undefined
}

/** Formats a name as a subject would show it. */
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

/** Formats an address as RFC 5952 and URLs do. */
function showIpv6(bytes: Uint8Array): string {
  const groups = Array.from({ length: 8 }, (_, i) =>
    (((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0)).toString(16),
  )
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1)
}
