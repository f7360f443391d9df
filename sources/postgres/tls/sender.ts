import { broken, TlsError } from './alerts.ts'
import { message } from './fragments.ts'
import { ContentType, MAX_PLAINTEXT, MessageType, VERSION_12 } from './parameters.ts'
import type { Protection } from './protection.ts'
import { concat, u16, type Bytes } from './wire.ts'

/** RFC 8446 section 5.5: 2^24.5 records are safe with one key of AES-GCM. TLS 1.2 cannot change the key then. */
export const MAX_RECORDS_OF_A_KEY = 2 ** 24
/** The number of records that are encrypted at once and written together: 1 MB. */
const RECORDS_OF_A_WRITE = 64

/** Sends records to the server, in the order of the calls. */
export class Sender {
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>
  readonly #recordsOfAKey: number
  #keys: Protection | null = null
  #queue: Promise<unknown> = Promise.resolve()
  #updateOwed = false
  #ended = false

  constructor(writable: WritableStream<Uint8Array>, recordsOfAKey = MAX_RECORDS_OF_A_KEY) {
    this.#writer = writable.getWriter()
    this.#writer.closed.catch(() => {})
    this.#recordsOfAKey = recordsOfAKey
  }

  /** Uses these keys from now on. */
  protect(keys: Protection): void {
    void this.#inTurn(async () => {
      this.#keys = keys
    })
  }

  /** Sends a record unencrypted, also when there are keys. `version` is the version in its header. */
  plain(type: number, data: Uint8Array, version = VERSION_12): Promise<void> {
    return this.#inTurn(() => this.#write(concat([type], u16(version), u16(data.length), data)))
  }

  /** Sends any number of bytes; zero bytes make no record. */
  send(type: number, data: Uint8Array): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#ended) throw new TlsError('ROCKPOOL_SOURCE_UNREACHABLE', null, 'TLS: the connection has ended')
      for (let at = 0; at < data.length;) at = await this.#some(type, data, at)
    })
  }

  /** 4.6.3: updates our keys at the request of the server. Requests that arrive before it is done are joined. */
  updateKeys(): Promise<void> {
    if (this.#updateOwed) return Promise.resolve()
    this.#updateOwed = true
    return this.#inTurn(() => this.#update())
  }

  /** Sends an alert, after which nothing is sent. */
  alert(description: number): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#ended) return
      this.#ended = true
      // 6: the level has no meaning any more; close_notify (0) has always been a warning.
      const data = new Uint8Array([description === 0 ? 1 : 2, description])
      const record = this.#keys
        ? await this.#keys.seal(ContentType.alert, data)
        : concat([ContentType.alert], u16(VERSION_12), u16(2), data)
      await this.#write(record)
    })
  }

  /** Sends as many records as the keys allow and one write takes. Returns where the remaining data begins. */
  async #some(type: number, data: Uint8Array, from: number): Promise<number> {
    if (this.#keyed.records >= this.#recordsOfAKey) await this.#update()
    const keys = this.#keyed
    const records: Promise<Bytes>[] = []
    let at = from
    for (
      ;
      at < data.length && records.length < RECORDS_OF_A_WRITE && keys.records < this.#recordsOfAKey;
      at += MAX_PLAINTEXT
    ) {
      records.push(keys.seal(type, data.subarray(at, at + MAX_PLAINTEXT)))
    }
    const sealed = await Promise.all(records)
    await this.#write(sealed.length === 1 ? (sealed[0] as Bytes) : concat(...sealed))
    return at
  }

  async #update(): Promise<void> {
    this.#updateOwed = false
    if (this.#ended) return
    const keys = this.#keyed
    if (!keys.next)
      throw new TlsError(
        'ROCKPOOL_SOURCE_UNREACHABLE',
        null,
        'TLS: the keys are used up, and TLS 1.2 cannot change them',
      )
    const next = await keys.next()
    // 0 means that the server need not do the same.
    await this.#write(await keys.seal(ContentType.handshake, message(MessageType.keyUpdate, [0])))
    this.#keys = next
  }

  async #write(bytes: Bytes): Promise<void> {
    try {
      await this.#writer.write(bytes)
    } catch (error) {
      throw broken(error)
    }
  }

  get #keyed(): Protection {
    if (!this.#keys) throw new Error('nothing is sent before there are keys')
    return this.#keys
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#queue.then(work)
    this.#queue = done.catch(() => {})
    return done
  }
}
