import { Alert, notOffered, unsuitable, violation } from './alerts.ts'
import { onlyOf, readAlpn } from './extensions.ts'
import { message } from './fragments.ts'
import type { Hello } from './hello.ts'
import { checkNumber } from './messages.ts'
import { Extension, GROUPS, MessageType, SUITES_12, type Group, type Suite12 } from './parameters.ts'
import type { Answer } from './server-hello.ts'
import { equal, Reader, vector8, whole, type Bytes } from './wire.ts'

// RFC 5246 section 7.4, RFC 8422 section 5: the messages of TLS 1.2, written and read.

export interface ServerHello12 {
  suite: Suite12
  random: Bytes
  alpn: string | null
}

/** 7.4.1.3. Throws ROCKPOOL_SOURCE_SETTINGS for a server without the extensions that repaired TLS 1.2. */
export function serverHello12({ random, sessionId, suite: number, extensions }: Answer, hello: Hello): ServerHello12 {
  const suite = SUITES_12.get(number)
  if (!suite) throw notOffered('cipher suite')
  // Our session id is random, and names no session that could be resumed.
  if (equal(sessionId, hello.sessionId))
    throw violation(Alert.illegalParameter, 'the server resumes a session that did not exist')
  onlyOf(extensions, hello.asked12)
  const master = extensions.get(Extension.extendedMasterSecret)
  if (!master) {
    throw unsuitable(
      Alert.handshakeFailure,
      'the server speaks TLS 1.2 without the extended master secret (RFC 7627): it needs OpenSSL 1.1.0 or newer, or TLS 1.3',
    )
  }
  if (master.length > 0) throw violation(Alert.decodeError, 'an extension is malformed')
  checkRenegotiation(extensions.get(Extension.renegotiationInfo))
  // RFC 8422 section 5.2.
  const formats = extensions.get(Extension.pointFormats)
  if (formats && !whole(formats, (reader) => reader.vector(1)).includes(0)) throw notOffered('form of points')
  return { suite, random: random.slice(), alpn: readAlpn(extensions.get(Extension.alpn), hello.alpn) }
}

/**
 * RFC 5746 section 3.4: a server without it may take our handshake for the renegotiation of an attacker's connection.
 */
function checkRenegotiation(info: Bytes | undefined): void {
  if (!info) {
    throw unsuitable(
      Alert.handshakeFailure,
      'the server speaks TLS 1.2 without secure renegotiation (RFC 5746): it needs a TLS library of this decade, or TLS 1.3',
    )
  }
  if (!equal(info, [0]))
    throw violation(Alert.handshakeFailure, 'the server renegotiates a connection that did not exist')
}

/** 7.4.2: returns the certificates in DER, the server's own first. They are copies, because the buffer is reused. */
export function readCertificates12(body: Bytes): Bytes[] {
  const list = whole(body, (reader) => new Reader(reader.vector(3)))
  const chain: Bytes[] = []
  while (!list.done) chain.push(list.vector(3).slice())
  return checkNumber(chain)
}

export interface KeyExchange {
  group: Group
  theirs: Bytes
  /** What is signed, after both randoms. */
  signed: Bytes
  scheme: number
  signature: Bytes
}

const NAMED_CURVE = 3

/** RFC 8422 section 5.4: ServerKeyExchange. */
export function readKeyExchange(body: Bytes): KeyExchange {
  return whole(body, (reader) => {
    const type = reader.number(1)
    const group = GROUPS.get(reader.number(2))
    if (type !== NAMED_CURVE || !group) throw notOffered('group')
    const theirs = reader.vector(1)
    const signed = body.subarray(0, 4 + theirs.length)
    return { group, theirs, signed, scheme: reader.number(2), signature: reader.vector(2) }
  })
}

/** 7.4.4: what it asks for does not matter, because no certificate is sent. */
export function checkCertificateRequest(body: Bytes): void {
  whole(body, (reader) => {
    if (reader.vector(1).length === 0) throw violation(Alert.decodeError, 'a request for a certificate names no kinds')
    // Signatures and authorities.
    reader.vector(2)
    reader.vector(2)
  })
}

/** 7.4.5: ServerHelloDone is empty. */
export const checkDone = (body: Bytes) => whole(body, () => {})

/** 7.4.6: the answer to a request for a certificate. */
export const NO_CERTIFICATE_12 = message(MessageType.certificate, [0, 0, 0])

/** RFC 8422 section 5.7. */
export const clientKeyExchange = (own: Bytes) => message(MessageType.clientKeyExchange, vector8(own))
