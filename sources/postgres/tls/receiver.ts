import { afterNoCertificate, Alert, readAlert, truncated, violation } from './alerts.ts'
import { Fragments } from './fragments.ts'
import type { Framing } from './framing.ts'
import { readKeyUpdate } from './messages.ts'
import { ContentType, MessageType } from './parameters.ts'
import { changed, type Content, type Protection, type RawRecord } from './protection.ts'
import { join, type Bytes } from './wire.ts'

/** The most consecutive records without data: tickets, key updates, empty records. */
export const MAX_IDLE_RECORDS = 64
/** The most key updates in one read. After each one, the rest of the read is decrypted again. */
export const MAX_KEY_UPDATES = 16

/** Receives records after the handshake. */
export class Receiver {
  readonly #framing: Framing
  readonly #updateKeys: () => void
  readonly #certificateWanted: boolean
  readonly #fragments = new Fragments()
  #keys: Protection
  #failure: unknown = null
  #ended = false
  #received = false
  #idle = 0
  #updateWanted = false
  /** The record that was read last is the last one with its keys. */
  #renewed = false

  /**
   * `certificateWanted` says that the server asked for one in the handshake. `updateKeys` is called, once for each
   * read, when it asks us to update our keys too.
   */
  constructor(framing: Framing, keys: Protection, certificateWanted: boolean, updateKeys: () => void) {
    this.#framing = framing
    this.#keys = keys
    this.#certificateWanted = certificateWanted
    this.#updateKeys = updateKeys
  }

  /**
   * Returns the joined data of all whole records that have arrived, or null after a close_notify. Throws TlsError, but
   * only after it has returned the data before the error.
   */
  async next(): Promise<Bytes | null> {
    for (;;) {
      if (this.#failure !== null) throw this.#failure
      if (this.#ended) return null
      const parts: Bytes[] = []
      try {
        await this.#read(parts)
      } catch (error) {
        this.#failure = this.#named(error)
      }
      if (parts.length > 0) {
        this.#received = true
        return parts.length === 1 ? (parts[0] as Bytes) : join(parts)
      }
    }
  }

  async #read(parts: Bytes[]): Promise<void> {
    const records = await this.#framing.take('data')
    if (records.length === 0) throw truncated()
    let from = 0
    for (let updates = 0; from < records.length && !this.#ended; updates++) {
      if (updates > MAX_KEY_UPDATES)
        throw violation(Alert.unexpectedMessage, 'the server changes its keys all the time')
      from += await this.#open(records.slice(from), parts)
    }
    if (this.#updateWanted) this.#updateKeys()
    this.#updateWanted = false
  }

  /** Returns how many of `records` were used: those up to a key update, because later ones need the new keys. */
  async #open(records: RawRecord[], parts: Bytes[]): Promise<number> {
    const keys = this.#keys
    this.#renewed = false
    // All at once, because one by one is half as fast.
    const plain = await decrypted(records.map((record) => keys.decrypt(record)))
    for (const [i, record] of records.entries()) {
      this.#take(keys.content(record, plain[i] ?? changed()), parts)
      if (this.#renewed && keys.next) this.#keys = await keys.next()
      if (this.#ended || this.#renewed) return i + 1
    }
    return records.length
  }

  #take({ type, data }: Content, parts: Bytes[]): void {
    if (type !== ContentType.handshake && !this.#fragments.empty)
      throw violation(Alert.unexpectedMessage, 'a message is interrupted')
    this.#idle = type === ContentType.applicationData && data.length > 0 ? 0 : this.#idle + 1
    if (this.#idle > MAX_IDLE_RECORDS) throw violation(Alert.unexpectedMessage, 'the server sends records without data')
    if (type === ContentType.applicationData) {
      if (data.length > 0) parts.push(data)
    } else if (type === ContentType.handshake) this.#message(data)
    else if (type === ContentType.alert) {
      const error = readAlert(data)
      if (error) throw error
      this.#ended = true
    } else throw violation(Alert.unexpectedMessage, 'a record is out of place')
  }

  /**
   * RFC 8446 section 4.6: tickets are ignored, because sessions are never resumed. In 1.2 a HelloRequest could arrive,
   * and is refused.
   */
  #message(data: Bytes): void {
    const is13 = this.#keys.next !== null
    this.#fragments.add(data)
    for (let found = this.#fragments.take(); found; found = this.#fragments.take()) {
      if (!is13 && found.type === MessageType.helloRequest) throw renegotiation()
      if (is13 && found.type === MessageType.newSessionTicket) continue
      if (!is13 || found.type !== MessageType.keyUpdate)
        throw violation(Alert.unexpectedMessage, `a message is out of place (${found.type})`)
      const wanted = readKeyUpdate(found.body)
      if (!this.#fragments.empty) throw violation(Alert.unexpectedMessage, 'a message spans a change of keys')
      this.#renewed = true
      this.#updateWanted ||= wanted
    }
  }

  /** In 1.3 a server may refuse us for the lack of a certificate only after the handshake (4.4.2.4). */
  #named(error: unknown): unknown {
    return this.#certificateWanted && !this.#received ? afterNoCertificate(error) : error
  }
}

/** RFC 5246 section 7.4.1.1: the server may ask for it at any time, and the client need not do it. */
const renegotiation = () =>
  violation(
    Alert.unexpectedMessage,
    'the server asks for renegotiation in the middle of the connection, which Rockpool never does',
  )

/**
 * Returns what each record decrypts to, or undefined where it fails. A failure after a key update, or after the end,
 * means
 * nothing: the record was not meant for these keys.
 */
async function decrypted(begun: Promise<ArrayBuffer>[]): Promise<(ArrayBuffer | undefined)[]> {
  try {
    return await Promise.all(begun)
  } catch {
    const settled = await Promise.allSettled(begun)
    return settled.map((result) => (result.status === 'fulfilled' ? result.value : undefined))
  }
}
