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
  readonly #view: DataView
  /** The eight bytes of the first nonce that the sequence number changes. */
  readonly #high: number
  readonly #low: number
  #sequence = 0

  private constructor(suite: Suite, secret: Bytes, key: CryptoKey, iv: Bytes) {
    this.#suite = suite
    this.#secret = secret
    this.#key = key
    this.#iv = new Uint8Array(iv)
    this.#view = new DataView(this.#iv.buffer)
    this.#high = this.#view.getUint32(4)
    this.#low = this.#view.getUint32(8)
  }

  static async of(suite: Suite, secret: Bytes): Promise<Protection13> {
    const { key, iv } = await trafficKey(suite, secret)
    return new Protection13(
      suite,
      secret,
      await crypto.subtle.importKey('raw', key, 'AES-GCM', false, ['encrypt', 'decrypt']),
      iv,
    )
  }

  async next(): Promise<Protection13> {
    return Protection13.of(this.#suite, await nextSecret(this.#suite, this.#secret))
  }

  get records(): number {
    return this.#sequence
  }

  /** 5.3. Returns the same bytes each time: WebCrypto copies them when it is called. */
  #nonce(): Bytes {
    const sequence = this.#sequence++
    this.#view.setUint32(4, this.#high ^ Math.floor(sequence / 2 ** 32))
    this.#view.setUint32(8, this.#low ^ sequence)
    return this.#iv
  }

  decrypt({ header, body }: RawRecord): Promise<ArrayBuffer> {
    return crypto.subtle.decrypt({ name: 'AES-GCM', iv: this.#nonce(), additionalData: header }, this.#key, body)
  }

  content(_: RawRecord, plain: ArrayBuffer): Content {
    const inner = new Uint8Array(plain)
    if (inner.length > MAX_PLAINTEXT + 1) throw violation(Alert.recordOverflow, 'a record is too long')
    // 5.4: zeros after the type are padding.
    let last = inner.length - 1
    while (inner[last] === 0) last--
    const type = inner[last]
    if (type === undefined) throw violation(Alert.unexpectedMessage, 'a record is nothing but padding')
    return { type, data: inner.subarray(0, last) }
  }

  async seal(type: number, data: Uint8Array): Promise<Bytes> {
    const header = concat([ContentType.applicationData], u16(VERSION_12), u16(data.length + MIN_CIPHERTEXT))
    // A copy of ours: two records with one nonce would give the key away, so this does not rely on the runtime.
    const iv = this.#nonce().slice()
    const sealed = await crypto.subtle.encrypt(
      { name: 'AES-GCM', iv, additionalData: header },
      this.#key,
      concat(data, [type]),
    )
    return concat(header, new Uint8Array(sealed))
  }
}
