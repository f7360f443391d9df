import { afterNoCertificate, Alert, readAlert, truncated, violation } from './alerts.ts'
import { Fragments } from './fragments.ts'
import type { Framing } from './framing.ts'
import { readKeyUpdate } from './messages.ts'
import { ContentType, MessageType } from './parameters.ts'
import type { Content, Protection, RawRecord } from './protection.ts'
import { concat, type Bytes } from './wire.ts'

/** Records one after the other that bring nothing: tickets, changes of keys, empty ones. */
export const MAX_IDLE_RECORDS = 64
/** Changes of keys in one read. After each the rest of the read is opened again. */
export const MAX_KEY_UPDATES = 16

/** What comes when the connection is made. */
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

  /** `certificateWanted`: the server asked for one in the handshake. `updateKeys`: it wants other keys of us too, once for each read. */
  constructor(framing: Framing, keys: Protection, certificateWanted: boolean, updateKeys: () => void) {
    this.#framing = framing
    this.#keys = keys
    this.#certificateWanted = certificateWanted
    this.#updateKeys = updateKeys
  }

  /** The data of all whole records that are here, as one. Null when the server has told the end. Throws TlsError, after the data before it. */
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

  /** How many of `records` count: up to a change of keys, for what comes after it is to be opened with others. */
  async #open(records: RawRecord[], parts: Bytes[]): Promise<number> {
    // All at once: one by one it is half as fast. What fails after a change of keys, or after the end, was not meant for these keys.
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
    if (this.#idle > MAX_IDLE_RECORDS) throw violation(Alert.unexpectedMessage, 'the server sends records, and no data')
    if (type === ContentType.applicationData) {
      if (data.length > 0) parts.push(data)
    } else if (type === ContentType.handshake) await this.#message(data)
    else if (type === ContentType.alert) {
      const error = readAlert(data)
      if (error) throw error
      this.#ended = true
    } else throw violation(Alert.unexpectedMessage, 'a record is out of place')
  }

  /** RFC 8446 section 4.6: tickets are for another session, which is never resumed here. In 1.2 a HelloRequest could come, and is refused. */
  async #message(data: Bytes): Promise<void> {
    this.#fragments.add(data)
    for (let found = this.#fragments.take(); found; found = this.#fragments.take()) {
      const keys = this.#keys
      if (!keys.next && found.type === MessageType.helloRequest) throw renegotiation()
      if (keys.next && found.type === MessageType.newSessionTicket) continue
      if (!keys.next || found.type !== MessageType.keyUpdate)
        throw violation(Alert.unexpectedMessage, `a message is out of place (${found.type})`)
      const wanted = readKeyUpdate(found.body)
      if (!this.#fragments.empty) throw violation(Alert.unexpectedMessage, 'a message goes across a change of keys')
      this.#keys = await keys.next()
      this.#updateWanted ||= wanted
    }
  }

  /** In 1.3 whether we are let in without a certificate is heard only after the handshake (4.4.2.4). */
  #named(error: unknown): unknown {
    return this.#certificateWanted && !this.#received ? afterNoCertificate(error) : error
  }
}

/** RFC 5246 section 7.4.1.1: it may be asked for at any time, and need not be given. */
const renegotiation = () =>
  violation(
    Alert.unexpectedMessage,
    'the server asks for another handshake in the middle of the connection (renegotiation), which is never made',
  )
