import { PKCS1_SCHEMES, SCHEMES, type Scheme } from '../../sources/postgres/tls/parameters.ts'
import { concat, type Bytes } from '../../sources/postgres/tls/wire.ts'

/** A key, and a certificate around it that nobody has signed: as much of one as the handshake looks at. */
export interface Credentials {
  scheme: number
  certificate: Bytes
  sign(content: Bytes): Promise<Bytes>
}

function value(tag: number, ...parts: ArrayLike<number>[]): Bytes {
  const body = concat(...parts)
  const length =
    body.length < 0x80
      ? [body.length]
      : body.length < 0x100
        ? [0x81, body.length]
        : [0x82, body.length >> 8, body.length & 0xff]
  return concat([tag], length, body)
}

/** `padding`: bytes that its issuer's name has. */
export const certificateOf = (spki: Bytes, padding = 0): Bytes => {
  const empty = value(0x30)
  const issuer = value(0x30, value(0x0c, new Uint8Array(padding)))
  const tbs = value(0x30, value(0xa0, value(0x02, [2])), value(0x02, [1]), empty, issuer, empty, empty, spki)
  return value(0x30, tbs, empty, value(0x03, [0]))
}

export async function credentials(scheme: number, padding = 0): Promise<Credentials> {
  const { key, verify, numberBytes } = (SCHEMES.get(scheme) ?? PKCS1_SCHEMES.get(scheme)) as Scheme
  const rsa = key.name.startsWith('RSA') ? { modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) } : {}
  const pair = (await crypto.subtle.generateKey({ ...key, ...rsa }, true, ['sign', 'verify'])) as CryptoKeyPair
  const spki = new Uint8Array(await crypto.subtle.exportKey('spki', pair.publicKey))
  return {
    scheme,
    certificate: certificateOf(spki, padding),
    sign: async (content) => {
      const signature = new Uint8Array(await crypto.subtle.sign(verify, pair.privateKey, content))
      if (numberBytes === undefined) return signature
      return value(0x30, number(signature.subarray(0, numberBytes)), number(signature.subarray(numberBytes)))
    },
  }
}

function number(bytes: Bytes): Bytes {
  const first = bytes.findIndex((byte) => byte !== 0)
  const digits = bytes.subarray(first)
  return value(0x02, (digits[0] ?? 0) >= 0x80 ? [0] : [], digits)
}
