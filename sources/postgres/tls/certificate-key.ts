import { Alert, violation } from './alerts.ts'
import { SCHEMES } from './parameters.ts'
import { concat, type Bytes } from './wire.ts'

// RFC 8446 section 4.4.3: has the server the key of its certificate? Whether the certificate is to be believed is decided elsewhere.

const CONTEXT = new TextEncoder().encode('TLS 1.3, server CertificateVerify\0')
const INTEGER = 0x02
const SEQUENCE = 0x30
/** The version of a certificate, which version 1 leaves out. */
const VERSION = 0xa0

/** Throws TlsError: illegal_parameter for a scheme that was not offered, decrypt_error for a signature that is not one. */
export async function checkSignature(certificate: Bytes, scheme: number, signature: Bytes, transcript: Bytes): Promise<void> {
  const found = SCHEMES.get(scheme)
  if (!found) throw violation(Alert.illegalParameter, 'the server signs in a way that was not offered')
  const signed = concat(new Uint8Array(64).fill(0x20), CONTEXT, transcript)
  const numbers = found.numberBytes === undefined ? signature : bothNumbers(signature, found.numberBytes)
  const spki = publicKey(certificate)
  let good: boolean
  try {
    // Refused for a key that is not of the scheme, or of another curve.
    const key = await crypto.subtle.importKey('spki', spki, found.key, false, ['verify'])
    good = await crypto.subtle.verify(found.verify, key, numbers, signed)
  } catch (error) {
    throw violation(Alert.decryptError, `the certificate of the server has no key for the signature: ${String(error)}`)
  }
  if (!good) throw violation(Alert.decryptError, 'the server does not have the key of its certificate')
}

interface Value {
  tag: number
  /** With tag and length. */
  raw: Bytes
  body: Bytes
  rest: Bytes
}

/** The first value of X.690 DER in `bytes`. */
function der(bytes: Bytes, tag?: number): Value {
  const [found, first] = bytes
  if (found === undefined || first === undefined) throw malformed()
  const more = first < 0x80 ? 0 : first & 0x7f
  if (more > 3 || first === 0x80 || bytes.length < 2 + more) throw malformed()
  const length = more === 0 ? first : bytes.subarray(2, 2 + more).reduce((sum, byte) => sum * 256 + byte, 0)
  // The shortest form only, as DER has it.
  if (more > 0 && length < (more === 1 ? 0x80 : 256 ** (more - 1))) throw malformed()
  const end = 2 + more + length
  if (end > bytes.length || (tag !== undefined && found !== tag)) throw malformed()
  return { tag: found, raw: bytes.subarray(0, end), body: bytes.subarray(2 + more, end), rest: bytes.subarray(end) }
}

/** RFC 5280 section 4.1: SubjectPublicKeyInfo, the last of the fields that each certificate has. */
export function publicKey(certificate: Bytes): Bytes {
  const outer = der(certificate, SEQUENCE)
  if (outer.rest.length > 0) throw malformed()
  let at = der(outer.body, SEQUENCE).body
  if (der(at).tag === VERSION) at = der(at).rest
  at = der(at, INTEGER).rest
  // Signature algorithm, issuer, validity, subject.
  for (let i = 0; i < 4; i++) at = der(at, SEQUENCE).rest
  return der(at, SEQUENCE).raw
}

/** An ECDSA signature as WebCrypto wants it: r and s, `size` bytes each. */
function bothNumbers(signature: Bytes, size: number): Bytes {
  const list = der(signature, SEQUENCE)
  const r = der(list.body, INTEGER)
  const s = der(r.rest, INTEGER)
  if (list.rest.length > 0 || s.rest.length > 0) throw malformed()
  return concat(padded(r.body, size), padded(s.body, size))
}

function padded(number: Bytes, size: number): Bytes {
  const [first = 0xff, second = 0] = number
  // Negative, or longer than it need be.
  if (first >= 0x80 || (first === 0 && number.length > 1 && second < 0x80)) throw malformed()
  const digits = first === 0 ? number.subarray(1) : number
  if (digits.length > size) throw malformed()
  return concat(new Uint8Array(size - digits.length), digits)
}

const malformed = () => violation(Alert.decodeError, 'a certificate or a signature is not DER')
