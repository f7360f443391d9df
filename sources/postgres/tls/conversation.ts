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

/** Verifies a chain: DER as the server sent it, its own certificate first. Throws when it is not to be trusted. */
export type VerifyChain = (chain: Uint8Array[], host: string) => void | Promise<void>

/** What both sides agreed on. */
export interface Agreed {
  version: 'TLS 1.2' | 'TLS 1.3'
  certificates: Bytes[]
  suite: string
  group: string
  /** Null when the server does not answer ALPN. */
  alpn: string | null
  /** The keys of what the server sends from now on. */
  keys: Protection
  /** True when the server asked for a certificate, so that it may still refuse us for having none. */
  certificateWanted: boolean
}

/** The steps that the handshakes of both versions share. */
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

  /** Returns the next message, which must be of one of `types`, and adds it to the transcript. */
  async next(...types: number[]): Promise<Message> {
    const found = await this.incoming.next(...types)
    this.transcript.add(found.raw)
    return found
  }

  /** Verifies the chain. Throws the error of the verification, and sends the server an alert. */
  async believe(chain: Bytes[]): Promise<void> {
    try {
      // A copy, so that changes to the list have no effect here.
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
