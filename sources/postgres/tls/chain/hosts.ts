// Names and addresses of hosts, independent of certificates.

/** A host: a name in lower case without a final dot, or the bytes of an address. */
export type Host = { kind: 'dns'; value: string } | { kind: 'ip'; bytes: Uint8Array; value: string }

const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/

/**
 * Returns true for labels of lower-case letters, digits and hyphens (RFC 1123). The last label must not be a number, so
 * that no address is a name.
 */
export function isHostName(text: string): boolean {
  const labels = text.split('.')
  return text.length <= 253 && labels.every((label) => LABEL.test(label)) && !/^\d+$/.test(labels.at(-1) ?? '')
}

/** Parses a host. Returns null when the text is neither a name nor an address. IPv6 may be in brackets. */
export function parseHost(text: string): Host | null {
  const value = text.replace(/^\[(.*)\]$/s, '$1').toLowerCase()
  const bytes = parseIpv4(value) ?? parseIpv6(value)
  if (bytes !== null) return { kind: 'ip', bytes: new Uint8Array(bytes), value }
  const name = text.toLowerCase().replace(/\.$/, '')
  return isHostName(name) ? { kind: 'dns', value: name } : null
}

function parseIpv4(text: string): number[] | null {
  const parts = text.split('.')
  return parts.length === 4 && parts.every((part) => /^(?:0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256)
    ? parts.map(Number)
    : null
}

function parseIpv6(text: string): number[] | null {
  if (!/^[0-9a-f:.]{2,45}$/.test(text) || !text.includes(':')) return null
  const halves = text.split('::')
  if (halves.length > 2) return null
  const groups = halves.map((half, i) => (half === '' ? [] : readGroups(half, i === halves.length - 1)))
  const [head, tail = []] = groups
  if (head == null || tail == null) return null
  const zeros = 16 - head.length - tail.length
  if (halves.length === 1 ? zeros !== 0 : zeros < 2) return null
  return [...head, ...new Array<number>(zeros).fill(0), ...tail]
}

/** Returns the bytes of `a:b:c`, which may end with an IPv4 address. */
function readGroups(text: string, last: boolean): number[] | null {
  const bytes: number[] = []
  const groups = text.split(':')
  for (const [i, group] of groups.entries()) {
    const four = last && i === groups.length - 1 ? parseIpv4(group) : null
    if (four !== null) bytes.push(...four)
    else if (/^[0-9a-f]{1,4}$/.test(group)) bytes.push(parseInt(group, 16) >> 8, parseInt(group, 16) & 0xff)
    else return null
  }
  return bytes
}

/**
 * Domains below which strangers get names of their own, so that a wildcard directly below one would cover all of them.
 * It is not the public suffix list, which has 10,000 entries, because an authority that the operator has chosen is not
 * expected to lie about these.
 */
const SHARED = new Set([
  ...[
    's3.amazonaws.com',
    'compute.amazonaws.com',
    'compute-1.amazonaws.com',
    'elb.amazonaws.com',
    'cloudfront.net',
    'github.io',
  ],
  ...[
    'herokuapp.com',
    'azurewebsites.net',
    'cloudapp.net',
    'web.app',
    'appspot.com',
    'run.app',
    'workers.dev',
    'pages.dev',
  ],
  ...['vercel.app', 'netlify.app', 'fly.dev', 'onrender.com', 'ngrok.io', 'ngrok.app', 'ngrok-free.app', 'duckdns.org'],
])
/** `co.uk`, `com.au` and similar domains. */
const SECOND_LEVEL = /^(?:ac|co|com|edu|gob|gov|gv|ltd|me|mil|ne|net|nom|or|org|plc|sch)\.[a-z]{2}$/

/**
 * Returns true when `pattern`, from a certificate and in lower case, matches the host `name`. A star stands for the
 * whole first label, and for nothing else.
 */
export function patternMatches(pattern: string, name: string): boolean {
  if (!pattern.startsWith('*.')) return isHostName(pattern) && pattern === name
  const base = pattern.slice(2)
  if (!isHostName(base) || !base.includes('.') || SHARED.has(base) || SECOND_LEVEL.test(base)) return false
  const dot = name.indexOf('.')
  return dot > 0 && name.slice(dot + 1) === base
}

const ADDRESS_LIKE = /^(?:0x[0-9a-f]+|[\d.]*\.[\d.]*|[0-9a-f.]*:[0-9a-f:.]*)$/i
const NAME_LIKE = /^[\p{L}\p{N}*_-]+(?:\.[\p{L}\p{N}_-]+)+\.?$/u

/**
 * Returns true when a text of a subject shows a host that the alternative names do not have: an address in any form,
 * or, when there are alternative names, a name with a dot, unless one of them is in that domain. Compares letter by
 * letter.
 */
export function isAnotherHost(text: string, names: readonly string[], addresses: readonly string[]): boolean {
  if (ADDRESS_LIKE.test(text)) return !addresses.includes(text)
  return NAME_LIKE.test(text) && names.length > 0 && !names.some((name) => name === text || name.endsWith(`.${text}`))
}
