import { Alert, readAlert, TlsError, truncated, violation } from './alerts.ts'
import { Fragments, MAX_MESSAGE_RECORDS, type Message } from './fragments.ts'
import type { Framing } from './framing.ts'
import { ContentType } from './parameters.ts'
import { open, type Content, type Protection } from './protection.ts'

/** Reads messages of the handshake, one record at a time, because each may change the keys. */
export class Incoming {
  readonly #framing: Framing
  readonly #fragments = new Fragments()
  #keys: Protection | null = null
  /** Whether a meaningless change_cipher_spec was ignored, and whether one may still be. */
  #letBy = false
  #lets = true

  constructor(framing: Framing) {
    this.#framing = framing
  }

  /** Returns the next message, which must be of one of `types`. */
  async next(...types: number[]): Promise<Message> {
    for (let records = 0; ; records++) {
      const message = this.#fragments.take()
      if (message && types.includes(message.type)) return message
      if (message) throw violation(Alert.unexpectedMessage, `a message is out of place (${message.type})`)
      if (records === MAX_MESSAGE_RECORDS)
        throw violation(Alert.unexpectedMessage, 'the server sends records without a message')
      await this.#record()
    }
  }

  /** RFC 8446 section 5.1: no message spans a change of keys. */
  boundary(): void {
    if (!this.#fragments.empty) throw violation(Alert.unexpectedMessage, 'a message spans a change of keys')
  }

  change(keys: Protection): void {
    this.boundary()
    this.#keys = keys
  }

  /**
   * In 1.2 a change_cipher_spec has a meaning and its place. None may arrive before that, or have arrived
   * (CVE-2014-0224).
   */
  noneMeaningless(): void {
    if (this.#letBy) throw outOfPlace()
    this.#lets = false
  }

  /** RFC 5246 section 7.1: the next record is change_cipher_spec, and what follows it has these keys. */
  async changeCipherSpec(keys: Protection): Promise<void> {
    if (!isChange(await this.#content())) throw outOfPlace()
    this.change(keys)
  }

  async #record(): Promise<void> {
    const { type, data } = await this.#content()
    if (type === ContentType.handshake) return this.#fragments.add(data)
    if (!this.#lets || !isChange({ type, data }) || !this.#fragments.empty) throw outOfPlace()
    this.#letBy = true
  }

  /** Returns the content of the next record. Throws for an alert. */
  async #content(): Promise<Content> {
    const record = await this.#framing.takeOne(this.#keys ? 'handshake' : 'plain')
    if (!record) throw truncated()
    // Appendix D.4: it has no meaning in 1.3 and is sent for middleboxes. It is never encrypted.
    const keys = record.type === ContentType.changeCipherSpec ? null : this.#keys
    // Copied, because the next read overwrites the bytes of this record.
    const content = keys ? await open(keys, record) : { type: record.type, data: record.body.slice() }
    if (content.type === ContentType.alert) throw readAlert(content.data) ?? closed()
    return content
  }
}

const isChange = ({ type, data }: Content) =>
  type === ContentType.changeCipherSpec && data.length === 1 && data[0] === 1
const outOfPlace = () => violation(Alert.unexpectedMessage, 'a record is out of place')
const closed = () =>
  new TlsError('ROCKPOOL_SOURCE_UNREACHABLE', null, 'TLS: the server closed the connection during the handshake')
