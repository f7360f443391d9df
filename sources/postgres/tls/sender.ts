import { broken, TlsError } from './alerts.ts'
import { message } from './fragments.ts'
import { ContentType, MAX_PLAINTEXT, MessageType, VERSION_12 } from './parameters.ts'
import type { Protection } from './protection.ts'
import { concat, u16, type Bytes } from './wire.ts'

/** RFC 8446 section 5.5: 2^24.5 records are safe with one key of AES-GCM. TLS 1.2 has no other key then. */
export const MAX_RECORDS_OF_A_KEY = 2 ** 24
/** Encrypted at once and written as one: 1 MB. */
const RECORDS_OF_A_WRITE = 64

/** Records to the server. What is written goes out in the order of the calls. */
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

  /** From here on with these keys. */
  protect(keys: Protection): void {
    void this.#inTurn(async () => {
      this.#keys = keys
    })
  }

  /** In the open, whatever the keys are. `version`: what the record is said to be of. */
  plain(type: number, data: Uint8Array, version = VERSION_12): Promise<void> {
    return this.#inTurn(() => this.#write(concat([type], u16(version), u16(data.length), data)))
  }

  /** Any number of bytes; none are no record. */
  send(type: number, data: Uint8Array): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#ended) throw new TlsError('ROCKPOOL_SOURCE_UNREACHABLE', null, 'TLS: the connection has ended')
      for (let at = 0; at < data.length;) at = await this.#some(type, data, at)
    })
  }

  /** 4.6.3: the server wants other keys of us as well. Asked again before that is done, once will do. */
  updateKeys(): Promise<void> {
    if (this.#updateOwed) return Promise.resolve()
    this.#updateOwed = true
    return this.#inTurn(() => this.#update())
  }

  /** The last that is sent. */
  alert(description: number): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#ended) return
      this.#ended = true
      // 6: its level means nothing any more; close_notify (0) has always been a warning.
      const data = new Uint8Array([description === 0 ? 1 : 2, description])
      const record = this.#keys
        ? await this.#keys.seal(ContentType.alert, data)
        : concat([ContentType.alert], u16(VERSION_12), u16(2), data)
      await this.#write(record)
    })
  }

  /** As many records as the keys are good for, and a write takes. Gives where the next ones begin. */
  async #some(type: number, data: Uint8Array, from: number): Promise<number> {
    if (this.#keyed.records >= this.#recordsOfAKey) await this.#update()
    const keys = this.#keyed
    const records: Promise<Bytes>[] = []
    let at = from
    for (; at < data.length && records.length < RECORDS_OF_A_WRITE && keys.records < this.#recordsOfAKey; at += MAX_PLAINTEXT) {
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
    if (!keys.next) throw new TlsError('ROCKPOOL_SOURCE_UNREACHABLE', null, 'TLS: the keys have been used up, and TLS 1.2 has no others')
    const next = await keys.next()
    // 0: the server need not do the same.
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
