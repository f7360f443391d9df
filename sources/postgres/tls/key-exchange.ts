import { Alert, violation } from './alerts.ts'
import type { Group } from './parameters.ts'
import type { Bytes } from './wire.ts'

// RFC 8446 section 7.4: (EC)DHE.

export interface Share {
  /** Our share for the server: 32 bytes, or an uncompressed point. */
  own: Bytes
  /** Returns the shared secret. Throws TlsError (illegal_parameter) for an invalid share of the server. */
  agree(theirs: Bytes): Promise<Bytes>
}

export async function newShare(group: Group): Promise<Share> {
  // The types do not say that these algorithms return a pair.
  const pair = (await crypto.subtle.generateKey(group.algorithm, false, ['deriveBits'])) as CryptoKeyPair
  const own = new Uint8Array((await crypto.subtle.exportKey('raw', pair.publicKey)) as ArrayBuffer)
  return { own, agree: (theirs) => agree(group, pair.privateKey, theirs) }
}

export async function agree(
  { algorithm, shareBytes, secretBits }: Group,
  key: CryptoKey,
  theirs: Bytes,
): Promise<Bytes> {
  // The runtime refuses points that are not on the curve (4.2.8.2). Compressed ones are never sent.
  if (theirs.length !== shareBytes) throw badShare()
  let secret: Bytes
  try {
    const peer = await crypto.subtle.importKey('raw', theirs, algorithm, false, [])
    // Passed as a variable, because the types of workerd wrongly call the member $public.
    const exchange = { name: algorithm.name, public: peer }
    secret = new Uint8Array(await crypto.subtle.deriveBits(exchange, key, secretBits))
  } catch {
    throw badShare()
  }
  // 7.4.2: a point of small order.
  if (secret.every((byte) => byte === 0)) throw badShare()
  return secret
}

const badShare = () => violation(Alert.illegalParameter, 'the key share of the server is not a point of its group')
