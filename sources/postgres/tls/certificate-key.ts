import { Alert, unproved, violation } from './alerts.ts'
import { DerReader, ownWith, TAG } from './chain/der.ts'
import { curveOf } from './chain/keys.ts'
import { isRefusal } from './chain/refusal.ts'
import { PKCS1_SCHEMES, SCHEMES, type Scheme, type Suite12 } from './parameters.ts'
import { concat, type Bytes } from './wire.ts'

// RFC 8446 section 4.4.3, RFC 8422 section 5.4: does the server have the key of its certificate? Whether the
// certificate is trusted is decided elsewhere.

const CONTEXT = new TextEncoder().encode('TLS 1.3, server CertificateVerify\0')

/** Returns the bytes that CertificateVerify signs. `transcript` is the hash of the messages before it. */
export const signed13 = (transcript: Bytes) => concat(new Uint8Array(64).fill(0x20), CONTEXT, transcript)

/** Throws TlsError (illegal_parameter) for a scheme that was not offered. */
export function scheme13(number: number): Scheme {
  const scheme = SCHEMES.get(number)
  if (!scheme) throw notInThisWay()
  return scheme
}

/** The same for TLS 1.2, where the suite must match the kind of the key, and the curve is that of the certificate. */
export function scheme12(number: number, { signs }: Suite12, certificate: Bytes): Scheme {
  const scheme = SCHEMES.get(number) ?? PKCS1_SCHEMES.get(number)
  if (!scheme || scheme.key.name.startsWith('RSA') !== (signs === 'RSA')) throw notInThisWay()
  if (scheme.numberBytes === undefined) return scheme
  const curve = read(publicKey(certificate), (reader) => curveOf(reader.next()))
  if (!curve) throw noKey('it is on no curve')
  return { ...scheme, key: { name: 'ECDSA', namedCurve: curve.name }, numberBytes: curve.numberBytes }
}

/** Throws TlsError: decrypt_error for a key of another kind, and ROCKPOOL_SOURCE_TLS for a wrong signature. */
export async function checkSignature(
  certificate: Bytes,
  scheme: Scheme,
  signature: Bytes,
  signed: Bytes,
): Promise<void> {
  const numbers = scheme.numberBytes === undefined ? signature : bothNumbers(signature, scheme.numberBytes)
  const spki = publicKey(certificate)
  let good: boolean
  try {
    // Fails for a key that does not fit the scheme, or is on another curve.
    const key = await crypto.subtle.importKey('spki', spki, scheme.key, false, ['verify'])
    good = await crypto.subtle.verify(scheme.verify, key, numbers, signed)
  } catch (error) {
    throw noKey(String(error))
  }
  if (!good) throw unproved('the server does not have the key of its certificate')
}

/** RFC 5280 section 4.1: SubjectPublicKeyInfo, the last of the fields that each certificate has. */
export function publicKey(certificate: Bytes): Bytes {
  return read(certificate, (outer) => {
    const fields = outer.enter(TAG.sequence).enter(TAG.sequence)
    // The version, which version 1 leaves out.
    fields.optional(ownWith(0))
    fields.next(TAG.integer)
    // Signature algorithm, issuer, validity, subject.
    for (let i = 0; i < 4; i++) fields.next(TAG.sequence)
    // A copy has a buffer of its own, as WebCrypto wants it.
    return fields.next(TAG.sequence).whole.slice()
  })
}

/** Converts an ECDSA signature into the form of WebCrypto: r and s, `size` bytes each. */
function bothNumbers(signature: Bytes, size: number): Bytes {
  return read(signature, (outer) => {
    const list = outer.enter(TAG.sequence)
    const [r, s] = [list.next(TAG.integer), list.next(TAG.integer)]
    list.end()
    return concat(padded(r.value.slice(), size), padded(s.value.slice(), size))
  })
}

/**
 * Reads all of `bytes` with the reader of chains. Two readers that disagree about a certificate are a way around a
 * check.
 */
function read<T>(bytes: Bytes, work: (reader: DerReader) => T): T {
  try {
    const reader = new DerReader(bytes)
    const value = work(reader)
    reader.end()
    return value
  } catch (error) {
    throw isRefusal(error) ? malformed() : error
  }
}

function padded(number: Bytes, size: number): Bytes {
  const [first = 0xff, second = 0] = number
  // Negative, or longer than necessary.
  if (first >= 0x80 || (first === 0 && number.length > 1 && second < 0x80)) throw malformed()
  const digits = first === 0 ? number.subarray(1) : number
  if (digits.length > size) throw malformed()
  return concat(new Uint8Array(size - digits.length), digits)
}

const notInThisWay = () => violation(Alert.illegalParameter, 'the server signs in a way that was not offered')
const noKey = (why: string) =>
  violation(Alert.decryptError, `the certificate of the server has no key for the signature: ${why}`)
const malformed = () => violation(Alert.decodeError, 'a certificate or a signature is not DER')
