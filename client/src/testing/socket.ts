import type { Socket } from '../core/connection.ts'

const CONNECTING = 0
const OPEN = 1
const CLOSED = 3

/** A connection to a server in the same process. Events come later, as those of a WebSocket do. */
export class MemorySocket implements Socket {
  readonly #received: (frame: unknown) => void
  readyState = CONNECTING
  onopen: Socket['onopen'] = null
  onmessage: Socket['onmessage'] = null
  onclose: Socket['onclose'] = null

  /** `received`: what the client sends. */
  constructor(received: (frame: unknown) => void) {
    this.#received = received
    queueMicrotask(() => {
      if (this.readyState !== CONNECTING) return
      this.readyState = OPEN
      this.onopen?.()
    })
  }

  send(text: string): void {
    const frame: unknown = JSON.parse(text)
    queueMicrotask(() => {
      if (this.readyState === OPEN) this.#received(frame)
    })
  }

  close(): void {
    this.readyState = CLOSED
  }

  /** The server says a line. */
  say(line: object): void {
    const data = JSON.stringify(line)
    queueMicrotask(() => {
      if (this.readyState === OPEN) this.onmessage?.({ data })
    })
  }

  /** The server closes it. */
  end(code: number, reason: string): void {
    queueMicrotask(() => {
      if (this.readyState !== OPEN) return
      this.readyState = CLOSED
      this.onclose?.({ code, reason })
    })
  }
}
