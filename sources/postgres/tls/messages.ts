import { Alert, unsuitable, violation } from './alerts.ts'
import { message } from './fragments.ts'
import { CERTIFICATE_SCHEMES, Extension, GROUPS, MessageType, SCHEMES, SUITES, VERSION_12, VERSION_13, type Suite } from './parameters.ts'
import { concat, equal, Reader, u16, vector16, vector8, type Bytes } from './wire.ts'

// RFC 8446 section 4: the messages of the handshake, written and read.

/** Certificates that a server may send. */
export const MAX_CERTIFICATES = 10

const encoder = new TextEncoder()
/** 4.1.3: the random of a ServerHello that is a HelloRetryRequest. */
const RETRY = Uint8Array.from('cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c'.match(/../g) ?? [], (pair) =>
  parseInt(pair, 16),
)
/** 4.1.3: how the random of a server ends that speaks 1.3 and was made to choose less, up to its last byte. */
const DOWNGRADE = encoder.encode('DOWNGRD')
const OLDER = new Map([
  [0x0300, 'SSL 3.0'],
  [0x0301, 'TLS 1.0'],
  [0x0302, 'TLS 1.1'],
  [VERSION_12, 'TLS 1.2'],
])

export interface HelloParts {
  random: Bytes
  sessionId: Bytes
  /** Null: the address is no name, and none is sent. */
  serverName: string | null
  alpn: string
  /** Groups and what the server is sent of each. */
  shares: [number, Bytes][]
  cookie: Bytes | null
}

/** 4.1.2. */
export function clientHello({ random, sessionId, serverName, alpn, shares, cookie }: HelloParts): Bytes {
  const extension = (type: number, body: Bytes) => concat(u16(type), vector16(body))
  const numbers = (...of: Iterable<number>[]) => concat(...of.flatMap((list) => [...list].map(u16)))
  const extensions = [
    ...(serverName === null ? [] : [extension(Extension.serverName, vector16([0], vector16(encoder.encode(serverName))))]),
    extension(Extension.supportedGroups, vector16(numbers(GROUPS.keys()))),
    extension(Extension.signatureAlgorithms, vector16(numbers(SCHEMES.keys(), CERTIFICATE_SCHEMES))),
    extension(Extension.alpn, vector16(vector8(encoder.encode(alpn)))),
    extension(Extension.supportedVersions, vector8(u16(VERSION_13))),
    ...(cookie === null ? [] : [extension(Extension.cookie, vector16(cookie))]),
    extension(Extension.keyShare, vector16(...shares.map(([group, own]) => concat(u16(group), vector16(own))))),
  ]
  const body = [u16(VERSION_12), random, vector8(sessionId), vector16(numbers(SUITES.keys())), vector8([0]), vector16(...extensions)]
  return message(MessageType.clientHello, ...body)
}

export type Extensions = Map<number, Bytes>

/** 4.2: each once. */
function readExtensions(reader: Reader): Extensions {
  const extensions: Extensions = new Map()
  const list = new Reader(reader.vector(2))
  while (!list.done) {
    const type = list.number(2)
    if (extensions.has(type)) throw violation(Alert.illegalParameter, 'an extension comes twice')
    extensions.set(type, list.vector(2))
  }
  return extensions
}

/** 4.2: none that our hello did not ask for. */
function onlyOf(extensions: Extensions, asked: ReadonlySet<number>): Extensions {
  for (const type of extensions.keys()) {
    if (!asked.has(type)) throw violation(Alert.unsupportedExtension, `an extension was not asked for (${type})`)
  }
  return extensions
}

const IN_HELLO = new Set<number>([Extension.supportedVersions, Extension.keyShare])
const IN_RETRY = new Set<number>([...IN_HELLO, Extension.cookie])
const NONE = new Set<number>()

export interface ServerHello {
  suite: Suite
  /** Of a HelloRetryRequest: the group that is wanted, if any. */
  retry: { group: number | null; cookie: Bytes | null } | null
  share: { group: number; theirs: Bytes } | null
}

/** 4.1.3 and 4.1.4. `sessionId`: of our hello. */
export function readServerHello(body: Bytes, sessionId: Bytes): ServerHello {
  const reader = new Reader(body)
  const version = reader.number(2)
  const random = reader.bytes(32)
  const echo = reader.vector(1)
  const suite = SUITES.get(reader.number(2))
  const compression = reader.number(1)
  const extensions: Extensions = reader.done ? new Map() : readExtensions(reader)
  reader.end()
  const chosen = extensions.get(Extension.supportedVersions)
  if (version !== VERSION_12 || !chosen) throw older(version, random)
  if (!equal(chosen, u16(VERSION_13))) throw notOffered('version')
  if (!equal(echo, sessionId)) throw violation(Alert.illegalParameter, 'the server answers another hello')
  if (!suite) throw notOffered('cipher suite')
  if (compression !== 0) throw notOffered('compression')
  const isRetry = equal(random, RETRY)
  onlyOf(extensions, isRetry ? IN_RETRY : IN_HELLO)
  const share = extensions.get(Extension.keyShare)
  if (isRetry) return { suite, retry: readRetry(share, extensions.get(Extension.cookie)), share: null }
  if (!share) throw violation(Alert.missingExtension, 'the server sent no key share')
  return { suite, retry: null, share: readShare(share) }
}

function readRetry(group: Bytes | undefined, cookie: Bytes | undefined): ServerHello['retry'] {
  if (!group && !cookie) throw violation(Alert.illegalParameter, 'the server asks for another hello and says nothing of how')
  const asked = {
    group: group ? whole(group, (reader) => reader.number(2)) : null,
    cookie: cookie ? whole(cookie, (reader) => reader.vector(2)) : null,
  }
  if (asked.cookie?.length === 0) throw violation(Alert.decodeError, 'the cookie of the server is empty')
  return asked
}

const readShare = (share: Bytes) => whole(share, (reader) => ({ group: reader.number(2), theirs: reader.vector(2) }))

/** Nothing is left. */
function whole<T>(bytes: Bytes, read: (reader: Reader) => T): T {
  const reader = new Reader(bytes)
  const found = read(reader)
  reader.end()
  return found
}

/** Appendix D.1, and 4.1.3 for the case that somebody in between has changed our hello. */
function older(version: number, random: Bytes): Error {
  if (equal(random.subarray(24, 31), DOWNGRADE)) {
    return violation(Alert.illegalParameter, 'the server speaks TLS 1.3, and somebody in between makes it choose an older version')
  }
  const name = OLDER.get(version) ?? `a version that is not known (${version})`
  return unsuitable(Alert.protocolVersion, `the server speaks ${name} only, and TLS 1.3 is needed`)
}

const notOffered = (what: string) => violation(Alert.illegalParameter, `the server chose a ${what} that was not offered`)

/** 4.3.1. `asked`: extensions of our hello that may be answered here. Gives the protocol that the server chose. */
export function readEncryptedExtensions(body: Bytes, asked: ReadonlySet<number>, alpn: string): string | null {
  const chosen = onlyOf(whole(body, readExtensions), asked).get(Extension.alpn)
  if (!chosen) return null
  if (!equal(chosen, vector16(vector8(encoder.encode(alpn))))) throw notOffered('protocol')
  return alpn
}

/** 4.3.2: what it asks for does not matter, for none is sent. */
export function readCertificateRequest(body: Bytes): void {
  const extensions = whole(body, (reader) => {
    if (reader.vector(1).length > 0) throw violation(Alert.illegalParameter, 'a request for a certificate is not one of the handshake')
    return readExtensions(reader)
  })
  if (!extensions.has(Extension.signatureAlgorithms))
    throw violation(Alert.missingExtension, 'a request for a certificate names no signatures')
}

/** 4.4.2: the answer to it. */
export const NO_CERTIFICATE = message(MessageType.certificate, [0], [0, 0, 0])

/** 4.4.2: DER, the server's own first. Copies: what they are read from goes. */
export function readCertificates(body: Bytes): Bytes[] {
  const list = whole(body, (reader) => {
    if (reader.vector(1).length > 0) throw violation(Alert.illegalParameter, 'certificates answer a request that was not made')
    return new Reader(reader.vector(3))
  })
  const chain: Bytes[] = []
  while (!list.done) {
    chain.push(list.vector(3).slice())
    onlyOf(readExtensions(list), NONE)
  }
  if (chain.length === 0) throw violation(Alert.decodeError, 'the server sent no certificate')
  if (chain.length > MAX_CERTIFICATES) throw unsuitable(Alert.badCertificate, `the server sent more than ${MAX_CERTIFICATES} certificates`)
  return chain
}

/** 4.4.3. */
export const readCertificateVerify = (body: Bytes) => whole(body, (reader) => ({ scheme: reader.number(2), signature: reader.vector(2) }))

/** 4.6.3: whether the same is wanted of us. */
export function readKeyUpdate(body: Bytes): boolean {
  const wanted = whole(body, (reader) => reader.number(1))
  if (wanted > 1) throw violation(Alert.illegalParameter, 'a change of keys is not one')
  return wanted === 1
}
