import { newShare, type Share } from './key-exchange.ts'
import { clientHello, type HelloParts } from './messages.ts'
import { Extension, FIRST_GROUPS, GROUPS } from './parameters.ts'
import type { Bytes } from './wire.ts'

/** A ClientHello that was sent, and what is needed to read the answer. */
export interface Hello {
  raw: Bytes
  random: Bytes
  sessionId: Bytes
  alpn: string
  shares: ReadonlyMap<number, Share>
  /** Extensions that the server may answer in EncryptedExtensions (RFC 8446 section 4.2). */
  asked: ReadonlySet<number>
  /** Extensions that it may answer in a ServerHello of 1.2. */
  asked12: ReadonlySet<number>
  /** 4.1.2: returns the hello for a retry, with a share of `group`, if one is named, and `cookie`. */
  again(group: number | null, cookie: Bytes | null): Promise<Hello>
}

export async function newHello(host: string, alpn: string): Promise<Hello> {
  // RFC 6066 section 3: an address is not a name, and a name has no final dot.
  const serverName = /^[\d.]+$|:/.test(host) ? null : host.replace(/\.$/, '')
  // RFC 8446 appendix D.4: with a session id, which has no meaning in 1.3, middleboxes take it for TLS 1.2.
  return written(
    { random: bytes(32), sessionId: bytes(32), serverName, alpn, cookie: null },
    await newShares(FIRST_GROUPS),
  )
}

function written(parts: Omit<HelloParts, 'shares'>, shares: ReadonlyMap<number, Share>): Hello {
  const asked = new Set<number>([Extension.supportedGroups, Extension.alpn])
  if (parts.serverName !== null) asked.add(Extension.serverName)
  return {
    raw: clientHello({ ...parts, shares: [...shares].map(([group, { own }]) => [group, own]) }),
    random: parts.random,
    sessionId: parts.sessionId,
    alpn: parts.alpn,
    shares,
    asked,
    // Some servers of 1.2 name their groups, which they need not (F5 load balancers).
    asked12: new Set([...asked, Extension.pointFormats, Extension.extendedMasterSecret, Extension.renegotiationInfo]),
    again: async (group, cookie) => written({ ...parts, cookie }, group === null ? shares : await newShares([group])),
  }
}

async function newShares(groups: number[]): Promise<Map<number, Share>> {
  const shares = new Map<number, Share>()
  for (const number of groups) {
    const group = GROUPS.get(number)
    if (group) shares.set(number, await newShare(group))
  }
  return shares
}

const bytes = (length: number) => crypto.getRandomValues(new Uint8Array(length))
