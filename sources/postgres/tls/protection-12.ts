import { VERSION_12 } from './parameters.ts'
import type { DirectionKeys } from './prf.ts'
import type { Content, Protection, RawRecord } from './protection.ts'
import { concat, u16, type Bytes } from './wire.ts'

// RFC 5288 section 3, RFC 5246 section 6.2.3.3: records of TLS 1.2 under AES-GCM.

/** The sizes of the part of the nonce that is sent, and of the tag that AES-GCM adds. */
const NONCE_BYTES = 8
const TAG_BYTES = 16
export const OVERHEAD_12 = NONCE_BYTES + TAG_BYTES

export class Protection12 implements Protection {
  readonly next = null
  readonly #key: CryptoKey
  /** The part of the nonce that is not sent. */
  readonly #salt: Bytes
  #sequence = 0

  private constructor(key: CryptoKey, salt: Bytes) {
    this.#key = key
    this.#salt = salt
  }

  static async of({ key, salt }: DirectionKeys): Promise<Protection12> {
    return new Protection12(await crypto.subtle.importKey('raw', key, 'AES-GCM', false, ['encrypt', 'decrypt']), salt)
  }

  get records(): number {
    return this.#sequence
  }

  decrypt({ type, body }: RawRecord): Promise<ArrayBuffer> {
    const iv = concat(this.#salt, body.subarray(0, NONCE_BYTES))
    const additionalData = concat(this.#number(), heading(type, body.length - OVERHEAD_12))
    return crypto.subtle.decrypt({ name: 'AES-GCM', iv, additionalData }, this.#key, body.subarray(NONCE_BYTES))
  }

  content({ type }: RawRecord, plain: ArrayBuffer): Content {
    return { type, data: new Uint8Array(plain) }
  }

  /** The number of the record is the part of the nonce that is sent, so no two are the same (RFC 5288 section 3). */
  async seal(type: number, data: Uint8Array): Promise<Bytes> {
    const number = this.#number()
    const iv = concat(this.#salt, number)
    const additionalData = concat(number, heading(type, data.length))
    const sealed = await crypto.subtle.encrypt({ name: 'AES-GCM', iv, additionalData }, this.#key, concat(data))
    return concat(heading(type, sealed.byteLength + NONCE_BYTES), number, new Uint8Array(sealed))
  }

  #number(): Bytes {
    const number = new Uint8Array(8)
    new DataView(number.buffer).setBigUint64(0, BigInt(this.#sequence++))
    return number
  }
}

const heading = (type: number, length: number) => concat([type], u16(VERSION_12), u16(length))
