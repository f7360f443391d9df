import type { Suite } from './parameters.ts'
import { concat, u16, vector8, type Bytes } from './wire.ts'

// RFC 8446 section 7: the key schedule, without pre-shared keys, early data, exporters and resumption.

const encoder = new TextEncoder()
const NOTHING = new Uint8Array()

async function hmac({ hash }: Suite, key: Bytes, data: Bytes): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.sign('HMAC', await hmacKey(hash, key), data))
}

const hmacKey = (hash: string, key: Bytes) =>
  crypto.subtle.importKey('raw', key, { name: 'HMAC', hash }, false, ['sign', 'verify'])

/** 7.1: HKDF-Expand-Label. TLS 1.3 needs no length above one hash, so HKDF-Expand is one HMAC. */
export async function expandLabel(
  suite: Suite,
  secret: Bytes,
  label: string,
  context: Bytes,
  length: number,
): Promise<Bytes> {
  const info = concat(u16(length), vector8(encoder.encode(`tls13 ${label}`)), vector8(context))
  return (await hmac(suite, secret, concat(info, [1]))).subarray(0, length)
}

/** `transcript` is the hash of the messages. */
const deriveSecret = (suite: Suite, secret: Bytes, label: string, transcript: Bytes) =>
  expandLabel(suite, secret, label, transcript, suite.hashBytes)

async function derived(suite: Suite, secret: Bytes): Promise<Bytes> {
  return deriveSecret(suite, secret, 'derived', new Uint8Array(await crypto.subtle.digest(suite.hash, NOTHING)))
}

export interface Secrets {
  client: Bytes
  server: Bytes
}

/** `hellos` is the hash of the messages up to ServerHello. */
export async function handshakeSecrets(
  suite: Suite,
  shared: Bytes,
  hellos: Bytes,
): Promise<Secrets & { master: Bytes }> {
  const zeros = new Uint8Array(suite.hashBytes)
  const early = await hmac(suite, zeros, zeros)
  const secret = await hmac(suite, await derived(suite, early), shared)
  return {
    client: await deriveSecret(suite, secret, 'c hs traffic', hellos),
    server: await deriveSecret(suite, secret, 's hs traffic', hellos),
    master: await hmac(suite, await derived(suite, secret), zeros),
  }
}

/** `flight` is the hash of the messages up to the server's Finished. */
export async function applicationSecrets(suite: Suite, master: Bytes, flight: Bytes): Promise<Secrets> {
  return {
    client: await deriveSecret(suite, master, 'c ap traffic', flight),
    server: await deriveSecret(suite, master, 's ap traffic', flight),
  }
}

/** 7.2: after a KeyUpdate. */
export const nextSecret = (suite: Suite, secret: Bytes) =>
  expandLabel(suite, secret, 'traffic upd', NOTHING, suite.hashBytes)

/** 7.3. */
export async function trafficKey(suite: Suite, secret: Bytes): Promise<{ key: Bytes; iv: Bytes }> {
  return {
    key: await expandLabel(suite, secret, 'key', NOTHING, suite.keyBytes),
    iv: await expandLabel(suite, secret, 'iv', NOTHING, 12),
  }
}

const finishedKey = (suite: Suite, secret: Bytes) => expandLabel(suite, secret, 'finished', NOTHING, suite.hashBytes)

/** 4.4.4: `secret` is the handshake traffic secret of the sender. */
export const finished = async (suite: Suite, secret: Bytes, transcript: Bytes) =>
  hmac(suite, await finishedKey(suite, secret), transcript)

/** Compared by the runtime, in constant time. */
export async function isFinished(suite: Suite, secret: Bytes, transcript: Bytes, theirs: Bytes): Promise<boolean> {
  return crypto.subtle.verify('HMAC', await hmacKey(suite.hash, await finishedKey(suite, secret)), theirs, transcript)
}
