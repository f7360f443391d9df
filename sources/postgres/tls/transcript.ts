import { MessageType, type Suite } from './parameters.ts'
import { concat, type Bytes } from './wire.ts'

/**
 * RFC 8446 section 4.4.1: what both sides have said. The messages are kept and hashed anew each time: WebCrypto has no hash that goes on, and a
 * handshake is a few KB and asks six times.
 */
export class Transcript {
  #messages: Bytes[] = []

  add(message: Bytes): void {
    this.#messages.push(message)
  }

  async hash({ hash }: Suite): Promise<Bytes> {
    return new Uint8Array(await crypto.subtle.digest(hash, concat(...this.#messages)))
  }

  /** A HelloRetryRequest follows: its hash stands for the first ClientHello, and binds the second to it. */
  async retry(suite: Suite): Promise<void> {
    this.#messages = [concat([MessageType.messageHash, 0, 0, suite.hashBytes], await this.hash(suite))]
  }
}
