import { VERSION_12 } from './parameters.ts'
import type { DirectionKeys } from './prf.ts'
import type { Content, Protection, RawRecord } from './protection.ts'
import { concat, u16, type Bytes } from './wire.ts'

// RFC 5288 section 3, RFC 5246 section 6.2.3.3: records of TLS 1.2 under AES-GCM.

/** The sizes of the parts of the nonce that are not sent and that are, and of the tag that AES-GCM adds. */
const SALT_BYTES = 4
const NONCE_BYTES = 8
const TAG_BYTES = 16
export const OVERHEAD_12 = NONCE_BYTES + TAG_BYTES

export class Protection12 implements Protection {
  readonly next = null
  readonly #key: CryptoKey
  /**
   * The part of the nonce that is not sent, and behind it that of the record. Always the same bytes: WebCrypto copies
   * them when it is called.
   */
  readonly #iv: Bytes
  /** Of a record: its number, type, version and length (RFC 5246 section 6.2.3.3). Always the same bytes as well. */
  readonly #additional = new Uint8Array(13)
  readonly #view = new DataView(this.#additional.buffer)
  #sequence = 0

  private constructor(key: CryptoKey, salt: Bytes) {
    this.#key = key
    this.#iv = concat(salt, new Uint8Array(NONCE_BYTES))
    this.#view.setUint16(9, VERSION_12)
  }

  static async of({ key, salt }: DirectionKeys): Promise<Protection12> {
    return new Protection12(await crypto.subtle.importKey('raw', key, 'AES-GCM', false, ['encrypt', 'decrypt']), salt)
  }

  get records(): number {
    return this.#sequence
  }

  decrypt({ type, body }: RawRecord): Promise<ArrayBuffer> {
    const sealed = body.subarray(NONCE_BYTES)
    this.#iv.set(body.subarray(0, NONCE_BYTES), SALT_BYTES)
    const additionalData = this.#nextData(type, sealed.length - TAG_BYTES)
    return crypto.subtle.decrypt({ name: 'AES-GCM', iv: this.#iv, additionalData }, this.#key, sealed)
  }

  content({ type }: RawRecord, plain: ArrayBuffer): Content {
    return { type, data: new Uint8Array(plain) }
  }

  /** The number of the record is the part of the nonce that is sent, so no two are the same (RFC 5288 section 3). */
  async seal(type: number, data: Uint8Array): Promise<Bytes> {
    // Copies of ours: two records with one nonce would give the key away, so this does not rely on the runtime.
    const additionalData = this.#nextData(type, data.length).slice()
    const number = additionalData.subarray(0, NONCE_BYTES)
    const iv = concat(this.#iv.subarray(0, SALT_BYTES), number)
    const sealed = await crypto.subtle.encrypt({ name: 'AES-GCM', iv, additionalData }, this.#key, concat(data))
    return concat([type], u16(VERSION_12), u16(sealed.byteLength + NONCE_BYTES), number, new Uint8Array(sealed))
  }

  /** Returns the additional data of the next record. `length` is that of its content. */
  #nextData(type: number, length: number): Bytes {
    const sequence = this.#sequence++
    this.#view.setUint32(0, Math.floor(sequence / 2 ** 32))
    this.#view.setUint32(4, sequence)
    this.#view.setUint8(8, type)
    this.#view.setUint16(11, length)
    return this.#additional
  }
}
