import { BlockList, isIP } from 'node:net'

/** The ranges that `local` stands for: addresses outside the public internet. */
const LOCAL = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '224.0.0.0/3',
  '::/128',
  '::1/128',
  '64:ff9b:1::/48',
  'fc00::/7',
  'fe80::/10',
  'ff00::/8',
]

const loopback = rangeList(['127.0.0.0/8', '::1/128'])

/**
 * Parses a list of address ranges: `10.0.0.0/8`, `fd00::/8`, a single address, or `local`. `part` is the first that is
 * none of these.
 */
export function addressRanges(
  parts: readonly string[],
): { kind: 'ranges'; ranges: BlockList } | { kind: 'invalid'; part: string } {
  const ranges = parts.flatMap((part) => (part === 'local' ? LOCAL : [part]))
  const wrong = ranges.find((range) => !isRange(range))
  return wrong === undefined ? { kind: 'ranges', ranges: rangeList(ranges) } : { kind: 'invalid', part: wrong }
}

/**
 * Returns whether the host of a URL is an address in these ranges. `localhost` counts as 127.0.0.1. Other names are not
 * resolved, since the fetch would resolve them again, perhaps to another address.
 */
export function hostIn(url: URL, ranges: BlockList): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '')
  const address = host === 'localhost' || host.endsWith('.localhost') ? '127.0.0.1' : host
  const family = isIP(address)
  return family !== 0 && ranges.check(address, family === 4 ? 'ipv4' : 'ipv6')
}

export const isLoopback = (url: URL): boolean => hostIn(url, loopback)

function isRange(range: string): boolean {
  const [address = '', bits, ...rest] = range.split('/')
  const family = isIP(address)
  if (family === 0 || rest.length > 0) return false
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128))
}

function rangeList(ranges: readonly string[]): BlockList {
  const list = new BlockList()
  for (const range of ranges) {
    const [address = '', bits] = range.split('/')
    const family = isIP(address)
    list.addSubnet(
      address,
      bits === undefined ? (family === 4 ? 32 : 128) : Number(bits),
      family === 4 ? 'ipv4' : 'ipv6',
    )
  }
  return list
}
