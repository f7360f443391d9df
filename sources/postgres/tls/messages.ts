import { Alert, unsuitable, violation } from './alerts.ts'
import { onlyOf, readAlpn, readExtensions } from './extensions.ts'
import { message } from './fragments.ts'
import {
  Extension,
  GROUPS,
  MessageType,
  PKCS1_SCHEMES,
  SCHEMES,
  SUITES,
  SUITES_12,
  VERSION_12,
  VERSION_13,
} from './parameters.ts'
import { concat, Reader, u16, vector16, vector8, whole, type Bytes } from './wire.ts'

// RFC 8446 section 4: the messages of the handshake, written and read, except ServerHello.

/** Certificates that a server may send. */
export const MAX_CERTIFICATES = 10

const encoder = new TextEncoder()

export interface HelloParts {
  random: Bytes
  sessionId: Bytes
  /** Null for an address, for which no name is sent. */
  serverName: string | null
  alpn: string
  /** Groups, and our share of each. */
  shares: [number, Bytes][]
  cookie: Bytes | null
}

/** 4.1.2, for both versions. */
export function clientHello({ random, sessionId, serverName, alpn, shares, cookie }: HelloParts): Bytes {
  const extension = (type: number, body: Bytes) => concat(u16(type), vector16(body))
  const numbers = (...of: Iterable<number>[]) => concat(...of.flatMap((list) => [...list].map(u16)))
  const extensions = [
    ...(serverName === null
      ? []
      : [extension(Extension.serverName, vector16([0], vector16(encoder.encode(serverName))))]),
    extension(Extension.supportedGroups, vector16(numbers(GROUPS.keys()))),
    extension(Extension.pointFormats, vector8([0])),
    extension(Extension.signatureAlgorithms, vector16(numbers(SCHEMES.keys(), PKCS1_SCHEMES.keys()))),
    extension(Extension.alpn, vector16(vector8(encoder.encode(alpn)))),
    extension(Extension.extendedMasterSecret, new Uint8Array()),
    extension(Extension.supportedVersions, vector8(numbers([VERSION_13, VERSION_12]))),
    ...(cookie === null ? [] : [extension(Extension.cookie, vector16(cookie))]),
    extension(Extension.keyShare, vector16(...shares.map(([group, own]) => concat(u16(group), vector16(own))))),
    extension(Extension.renegotiationInfo, vector8()),
  ]
  const suites = vector16(numbers(SUITES.keys(), SUITES_12.keys()))
  return message(
    MessageType.clientHello,
    u16(VERSION_12),
    random,
    vector8(sessionId),
    suites,
    vector8([0]),
    vector16(...extensions),
  )
}

/**
 * 4.3.1. `asked` are extensions of our hello that may be answered here. Returns the protocol that the server chose, or
 * null.
 */
export function readEncryptedExtensions(body: Bytes, asked: ReadonlySet<number>, alpn: string): string | null {
  return readAlpn(onlyOf(whole(body, readExtensions), asked).get(Extension.alpn), alpn)
}

/** 4.3.2: what it asks for does not matter, because no certificate is sent. */
export function readCertificateRequest(body: Bytes): void {
  const extensions = whole(body, (reader) => {
    if (reader.vector(1).length > 0)
      throw violation(Alert.illegalParameter, 'a request for a certificate is not one of the handshake')
    return readExtensions(reader)
  })
  if (!extensions.has(Extension.signatureAlgorithms))
    throw violation(Alert.missingExtension, 'a request for a certificate names no signatures')
}

/** 4.4.2: the answer to it. */
export const NO_CERTIFICATE = message(MessageType.certificate, [0], [0, 0, 0])

const NONE = new Set<number>()

/** 4.4.2: returns the certificates in DER, the server's own first. They are copies, because the buffer is reused. */
export function readCertificates(body: Bytes): Bytes[] {
  const list = whole(body, (reader) => {
    if (reader.vector(1).length > 0)
      throw violation(Alert.illegalParameter, 'certificates answer a request that was not made')
    return new Reader(reader.vector(3))
  })
  const chain: Bytes[] = []
  while (!list.done) {
    chain.push(list.vector(3).slice())
    onlyOf(readExtensions(list), NONE)
  }
  return checkNumber(chain)
}

/** Limits the number of certificates. */
export function checkNumber(chain: Bytes[]): Bytes[] {
  if (chain.length === 0) throw violation(Alert.decodeError, 'the server sent no certificate')
  if (chain.length > MAX_CERTIFICATES)
    throw unsuitable(Alert.badCertificate, `the server sent more than ${MAX_CERTIFICATES} certificates`)
  return chain
}

/** 4.4.3. */
export const readCertificateVerify = (body: Bytes) =>
  whole(body, (reader) => ({ scheme: reader.number(2), signature: reader.vector(2) }))

/** 4.6.3: returns true when the server asks us to update our keys too. */
export function readKeyUpdate(body: Bytes): boolean {
  const wanted = whole(body, (reader) => reader.number(1))
  if (wanted > 1) throw violation(Alert.illegalParameter, 'a KeyUpdate is malformed')
  return wanted === 1
}
