import { MessageType, type Suite } from './parameters.ts'
import { concat, type Bytes } from './wire.ts'

/**
 * RFC 8446 section 4.4.1: the messages of both sides. They are kept and hashed again each time, because WebCrypto has
 * no incremental hash, and a handshake is a few KB and needs six hashes.
 */
export class Transcript {
  #messages: Bytes[] = []

  add(message: Bytes): void {
    this.#messages.push(message)
  }

  async hash({ hash }: Suite): Promise<Bytes> {
    return new Uint8Array(await crypto.subtle.digest(hash, concat(...this.#messages)))
  }

  /** Replaces the first ClientHello by its hash before a HelloRetryRequest, which binds the second one to it. */
  async retry(suite: Suite): Promise<void> {
    this.#messages = [concat([MessageType.messageHash, 0, 0, suite.hashBytes], await this.hash(suite))]
  }
}
