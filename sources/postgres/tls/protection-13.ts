import { Alert, violation } from './alerts.ts'
import { nextSecret, trafficKey } from './key-schedule.ts'
import { ContentType, MAX_PLAINTEXT, VERSION_12, type Suite } from './parameters.ts'
import type { Content, Protection, RawRecord } from './protection.ts'
import { concat, u16, type Bytes } from './wire.ts'

// RFC 8446 sections 5.2 to 5.5: records of TLS 1.3.

/** Bytes that AES-GCM and the type inside add. */
const TAG_BYTES = 16
export const MIN_CIPHERTEXT = TAG_BYTES + 1

export class Protection13 implements Protection {
  readonly #suite: Suite
  readonly #secret: Bytes
  readonly #key: CryptoKey
  readonly #iv: Bytes
  #sequence = 0

  private constructor(suite: Suite, secret: Bytes, key: CryptoKey, iv: Bytes) {
    this.#suite = suite
    this.#secret = secret
    this.#key = key
    this.#iv = iv
  }

  static async of(suite: Suite, secret: Bytes): Promise<Protection13> {
    const { key, iv } = await trafficKey(suite, secret)
    return new Protection13(suite, secret, await crypto.subtle.importKey('raw', key, 'AES-GCM', false, ['encrypt', 'decrypt']), iv)
  }

  async next(): Promise<Protection13> {
    return Protection13.of(this.#suite, await nextSecret(this.#suite, this.#secret))
  }

  get records(): number {
    return this.#sequence
  }

  /** 5.3. */
  #nonce(): Bytes {
    const nonce = new Uint8Array(this.#iv)
    const view = new DataView(nonce.buffer)
    view.setBigUint64(4, view.getBigUint64(4) ^ BigInt(this.#sequence++))
    return nonce
  }

  async open({ header, body }: RawRecord): Promise<Content> {
    const iv = this.#nonce()
    let inner: Bytes
    try {
      inner = new Uint8Array(await crypto.subtle.decrypt({ name: 'AES-GCM', iv, additionalData: header }, this.#key, body))
    } catch {
      throw violation(Alert.badRecordMac, 'a record was changed in transit')
    }
    if (inner.length > MAX_PLAINTEXT + 1) throw violation(Alert.recordOverflow, 'a record is too long')
    // 5.4: zeros after the type are padding.
    const last = inner.findLastIndex((byte) => byte !== 0)
    const type = inner[last]
    if (type === undefined) throw violation(Alert.unexpectedMessage, 'a record is nothing but padding')
    return { type, data: inner.subarray(0, last) }
  }

  async seal(type: number, data: Uint8Array): Promise<Bytes> {
    const header = concat([ContentType.applicationData], u16(VERSION_12), u16(data.length + MIN_CIPHERTEXT))
    const iv = this.#nonce()
    const sealed = await crypto.subtle.encrypt({ name: 'AES-GCM', iv, additionalData: header }, this.#key, concat(data, [type]))
    return concat(header, new Uint8Array(sealed))
  }
}
