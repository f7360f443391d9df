import type { Suite } from './parameters.ts'
import { concat, type Bytes } from './wire.ts'

// RFC 5246 sections 5, 6.3, 7.4.9 and 8.1, RFC 7627: the keys of TLS 1.2.

const MASTER_BYTES = 48
const VERIFY_BYTES = 12
/** RFC 5288 section 3: the size of the part of the nonce that is not sent. */
const SALT_BYTES = 4

/** 5: PRF, which is P_hash of the suite's hash. */
export async function prf({ hash }: Suite, secret: Bytes, label: string, seed: Bytes, length: number): Promise<Bytes> {
  const key = await crypto.subtle.importKey('raw', secret, { name: 'HMAC', hash }, false, ['sign'])
  const hmac = async (data: Bytes) => new Uint8Array(await crypto.subtle.sign('HMAC', key, data))
  const first = concat(new TextEncoder().encode(label), seed)
  const parts: Bytes[] = []
  let a = first
  for (let made = 0; made < length; made += parts.at(-1)?.length ?? 0) {
    a = await hmac(a)
    parts.push(await hmac(concat(a, first)))
  }
  return concat(...parts).subarray(0, length)
}

/** RFC 7627 section 4. `session` is the hash of the messages up to ClientKeyExchange. */
export const masterSecret = (suite: Suite, shared: Bytes, session: Bytes) =>
  prf(suite, shared, 'extended master secret', session, MASTER_BYTES)

export interface DirectionKeys {
  key: Bytes
  salt: Bytes
}

/** 6.3: AES-GCM needs no keys for a MAC. */
export async function connectionKeys(
  suite: Suite,
  master: Bytes,
  random: { client: Bytes; server: Bytes },
): Promise<{ client: DirectionKeys; server: DirectionKeys }> {
  const { keyBytes } = suite
  const block = await prf(
    suite,
    master,
    'key expansion',
    concat(random.server, random.client),
    2 * (keyBytes + SALT_BYTES),
  )
  const key = (at: number) => block.slice(at * keyBytes, (at + 1) * keyBytes)
  const salt = (at: number) => block.slice(2 * keyBytes + at * SALT_BYTES, 2 * keyBytes + (at + 1) * SALT_BYTES)
  return { client: { key: key(0), salt: salt(0) }, server: { key: key(1), salt: salt(1) } }
}

/** 7.4.9: returns the content of a Finished. `transcript` is the hash of all messages before it. */
export const finished12 = (suite: Suite, master: Bytes, who: 'client' | 'server', transcript: Bytes) =>
  prf(suite, master, `${who} finished`, transcript, VERIFY_BYTES)
