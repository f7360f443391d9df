import { afterNoCertificate, Alert, readAlert, truncated, violation } from './alerts.ts'
import { Fragments } from './fragments.ts'
import type { Framing } from './framing.ts'
import { readKeyUpdate } from './messages.ts'
import { ContentType, MessageType } from './parameters.ts'
import type { Content, Protection, RawRecord } from './protection.ts'
import { concat, type Bytes } from './wire.ts'

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
        return parts.length === 1 ? (parts[0] as Bytes) : concat(...parts)
      }
    }
  }

  async #read(parts: Bytes[]): Promise<void> {
    const records = await this.#framing.take('data')
    if (records.length === 0) throw truncated()
    let from = 0
    for (let updates = 0; from < records.length && !this.#ended; updates++) {
      if (updates > MAX_KEY_UPDATES) throw violation(Alert.unexpectedMessage, 'the server changes its keys all the time')
      from += await this.#open(records.slice(from), parts)
    }
    if (this.#updateWanted) this.#updateKeys()
    this.#updateWanted = false
  }

  /** Returns how many of `records` were used: those up to a key update, because later ones need the new keys. */
  async #open(records: RawRecord[], parts: Bytes[]): Promise<number> {
    // All at once, because one by one is half as fast. A failure after a key update, or after the end, means nothing:
    // the record was not meant for these keys.
    const opened = await Promise.allSettled(records.map((record) => this.#keys.open(record)))
    for (const [i, result] of opened.entries()) {
      if (result.status === 'rejected') throw result.reason
      const before = this.#keys
      await this.#take(result.value, parts)
      if (this.#ended || this.#keys !== before) return i + 1
    }
    return records.length
  }

  async #take({ type, data }: Content, parts: Bytes[]): Promise<void> {
    if (type !== ContentType.handshake && !this.#fragments.empty) throw violation(Alert.unexpectedMessage, 'a message is interrupted')
    this.#idle = type === ContentType.applicationData && data.length > 0 ? 0 : this.#idle + 1
    if (this.#idle > MAX_IDLE_RECORDS) throw violation(Alert.unexpectedMessage, 'the server sends records without data')
    if (type === ContentType.applicationData) {
      if (data.length > 0) parts.push(data)
    } else if (type === ContentType.handshake) await this.#message(data)
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
  async #message(data: Bytes): Promise<void> {
    this.#fragments.add(data)
    for (let found = this.#fragments.take(); found; found = this.#fragments.take()) {
      const keys = this.#keys
      if (!keys.next && found.type === MessageType.helloRequest) throw renegotiation()
      if (keys.next && found.type === MessageType.newSessionTicket) continue
      if (!keys.next || found.type !== MessageType.keyUpdate)
        throw violation(Alert.unexpectedMessage, `a message is out of place (${found.type})`)
      const wanted = readKeyUpdate(found.body)
      if (!this.#fragments.empty) throw violation(Alert.unexpectedMessage, 'a message spans a change of keys')
      this.#keys = await keys.next()
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
  violation(Alert.unexpectedMessage, 'the server asks for renegotiation in the middle of the connection, which Rockpool never does')
