import { RockpoolError } from '../../../protocol/errors.ts'
import { Alert, unsuitable } from './alerts.ts'
import type { Message } from './fragments.ts'
import type { Framing } from './framing.ts'
import { Incoming } from './incoming.ts'
import { ContentType } from './parameters.ts'
import type { Protection } from './protection.ts'
import type { Sender } from './sender.ts'
import { Transcript } from './transcript.ts'
import type { Bytes } from './wire.ts'

/** Decides whether a chain is to be believed: DER, the server's own certificate first, as it sent them. Throws when it is not. */
export type VerifyChain = (chain: Uint8Array[], host: string) => void | Promise<void>

/** What both sides have agreed on. */
export interface Agreed {
  version: 'TLS 1.2' | 'TLS 1.3'
  certificates: Bytes[]
  suite: string
  group: string
  /** Null: the server knows nothing of ALPN. */
  alpn: string | null
  /** For what the server sends from here on. */
  keys: Protection
  /** The server asked for a certificate, and may yet refuse us for having none. */
  certificateWanted: boolean
}

/** What a handshake of either version is made of. */
export class Conversation {
  readonly incoming: Incoming
  readonly transcript = new Transcript()
  readonly sender: Sender
  readonly #host: string
  readonly #verify: VerifyChain

  constructor(framing: Framing, sender: Sender, host: string, verify: VerifyChain) {
    this.incoming = new Incoming(framing)
    this.sender = sender
    this.#host = host
    this.#verify = verify
  }

  /** The next message, which must be of one of `types`, and counts as said. */
  async next(...types: number[]): Promise<Message> {
    const found = await this.incoming.next(...types)
    this.transcript.add(found.raw)
    return found
  }

  /** Throws what the verification throws, and tells the server. */
  async believe(chain: Bytes[]): Promise<void> {
    try {
      // Of its own: what it does with the list changes nothing here.
      await this.#verify([...chain], this.#host)
    } catch (error) {
      this.sender.alert(Alert.badCertificate).catch(() => {})
      if (error instanceof RockpoolError) throw error
      const reason = error instanceof Error ? error.message : String(error)
      throw unsuitable(Alert.badCertificate, `the certificate of ${this.#host} cannot be verified: ${reason}`, error)
    }
  }

  changeCipherSpec(): Promise<void> {
    return this.sender.plain(ContentType.changeCipherSpec, new Uint8Array([1]))
  }
}
