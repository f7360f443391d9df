import { Alert, readAlert, TlsError, truncated, violation } from './alerts.ts'
import { Fragments, MAX_MESSAGE_RECORDS, type Message } from './fragments.ts'
import type { Framing } from './framing.ts'
import { ContentType } from './parameters.ts'
import type { Protection } from './protection.ts'

/** Messages of the handshake, one record after the other: each may change the keys. */
export class Incoming {
  readonly #framing: Framing
  readonly #fragments = new Fragments()
  #keys: Protection | null = null

  constructor(framing: Framing) {
    this.#framing = framing
  }

  /** The next message, which must be of one of `types`. */
  async next(...types: number[]): Promise<Message> {
    for (let records = 0; ; records++) {
      const message = this.#fragments.take()
      if (message && types.includes(message.type)) return message
      if (message) throw violation(Alert.unexpectedMessage, `a message is out of place (${message.type})`)
      if (records === MAX_MESSAGE_RECORDS) throw violation(Alert.unexpectedMessage, 'the server sends records, and no message')
      await this.#record()
    }
  }

  /** RFC 8446 section 5.1: no message goes across a change of keys. */
  boundary(): void {
    if (!this.#fragments.empty) throw violation(Alert.unexpectedMessage, 'a message goes across a change of keys')
  }

  change(keys: Protection): void {
    this.boundary()
    this.#keys = keys
  }

  async #record(): Promise<void> {
    const record = await this.#framing.takeOne(this.#keys ? 'handshake' : 'plain')
    if (!record) throw truncated()
    // Appendix D.4: means nothing, and comes for the sake of boxes in between. It is never encrypted.
    const compatibility = record.type === ContentType.changeCipherSpec
    // What is read next takes the place of the bytes of this record.
    const plain = { type: record.type, data: record.body.slice() }
    const { type, data } = this.#keys && !compatibility ? await this.#keys.open(record) : plain
    if (type === ContentType.alert) throw readAlert(data) ?? closed()
    if (type === ContentType.handshake) return this.#fragments.add(data)
    if (!compatibility || data.length !== 1 || data[0] !== 1 || !this.#fragments.empty) {
      throw violation(Alert.unexpectedMessage, 'a record is out of place')
    }
  }
}

const closed = () => new TlsError('ROCKPOOL_SOURCE_UNREACHABLE', null, 'TLS: the server closed the connection before it was made')
