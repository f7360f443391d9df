import type { TokenFrame } from '../../protocol/messages/relay.ts'
import type { TokenMark } from '../../protocol/revocations.ts'
import { MESSAGE_VERSION } from '../../protocol/versions.ts'

/**
 * The tokens under which a stream continues. Each counts only when the relay has found that it was not revoked: either
 * it answers the frame that says it, or it greets the stream that came to it with that token.
 */
export class Renewals {
  readonly #signal: AbortSignal
  #token: TokenMark
  #seq = 0
  #waiting: { seq: number; resolve: (isNewest: boolean) => void }[] = []

  /** `signal`: of the stream. */
  constructor(token: TokenMark, signal: AbortSignal) {
    this.#token = token
    this.#signal = signal
  }

  /** Resolves to false when a later token has taken its place. Rejects when the stream ends before that. */
  async renew(token: TokenMark): Promise<boolean> {
    this.#token = { ...token, client: this.#token.client }
    const seq = ++this.#seq
    this.#signal.throwIfAborted()
    return new Promise<boolean>((resolve, reject) => {
      const ended = () => reject(this.#signal.reason as unknown)
      this.#signal.addEventListener('abort', ended, { once: true })
      const answered = (isNewest: boolean) => {
        this.#signal.removeEventListener('abort', ended)
        resolve(isNewest)
      }
      this.#waiting.push({ seq, resolve: answered })
    })
  }

  frame(): TokenFrame {
    const { jti, iat } = this.#token
    return { v: MESSAGE_VERSION, type: 'token', seq: this.#seq, ...(jti !== undefined && { jti }), iat }
  }

  /** The token with which a socket is asked for now. */
  get current(): { token: TokenMark; seq: number } {
    return { token: this.#token, seq: this.#seq }
  }

  /** Nothing is known of the tokens before that one, whose place it has taken. */
  admitted(upTo: number): void {
    const done = this.#waiting.filter(({ seq }) => seq <= upTo)
    this.#waiting = this.#waiting.filter(({ seq }) => seq > upTo)
    for (const { seq, resolve } of done) resolve(seq === upTo)
  }
}
