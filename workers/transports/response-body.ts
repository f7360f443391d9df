import { ended } from '../stream/budget.ts'
import { Held } from '../stream/held.ts'
import { FIRST_LINE_SECONDS, RESPONSE_BUFFER_BYTES } from '../stream/limits.ts'

/**
 * A response body that is written here and read at the reader's pace. The runtime gets each piece when it asks for it,
 * which it does when the one before has been written. The queue of a `ReadableStream` would not count what is being
 * written, 400 KB for each client.
 */
export class ResponseBody {
  readonly readable: ReadableStream<Uint8Array>
  readonly held = new Held()
  /** Resolves when the body has begun, or after a time limit. Rejects with an error that came before. */
  readonly first: Promise<void>
  begun = false
  readonly #stop: AbortController
  readonly #first = Promise.withResolvers<void>()
  readonly #timer: ReturnType<typeof setTimeout>
  readonly #pieces: Uint8Array[] = []
  /** Bytes of the waiting pieces and of the one that is being written. */
  #waiting = 0
  #taking = 0
  #asked = false
  #closing = false
  #controller: ReadableStreamDefaultController<Uint8Array> | null = null
  #room: () => void = () => {}
  #discarded = false
  readonly #trailer: () => Uint8Array | undefined

  /** `trailer` returns what a body that ends cleanly has behind its last line. */
  constructor(stop: AbortController, trailer: () => Uint8Array | undefined = () => undefined) {
    this.#stop = stop
    this.#trailer = trailer
    this.first = this.#first.promise
    this.#timer = setTimeout(() => this.#begin(), FIRST_LINE_SECONDS * 1_000)
    this.readable = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller
        },
        pull: () => {
          this.#taking = 0
          this.#asked = true
          this.#give()
          this.#room()
        },
        cancel: () => stop.abort(ended('the receiver has gone')),
      },
      new CountQueuingStrategy({ highWaterMark: 0 }),
    )
    stop.signal.addEventListener('abort', () => this.#room())
  }

  get hasRoom(): boolean {
    return this.#waiting + this.#taking <= RESPONSE_BUFFER_BYTES
  }

  async room(): Promise<void> {
    while (!this.#stop.signal.aborted && !this.hasRoom) await new Promise<void>((resolve) => (this.#room = resolve))
    this.#stop.signal.throwIfAborted()
  }

  /** Adds whole lines. Does not wait. */
  write(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#queue(bytes)
    this.#give()
    this.#begin()
  }

  #queue(bytes: Uint8Array): void {
    // Copies: pieces that are views would keep the whole buffer until the last one is written.
    if (bytes.length <= RESPONSE_BUFFER_BYTES) this.#pieces.push(bytes)
    else
      for (let at = 0; at < bytes.length; at += RESPONSE_BUFFER_BYTES)
        this.#pieces.push(bytes.slice(at, at + RESPONSE_BUFFER_BYTES))
    this.#waiting += bytes.length
  }

  /** Breaks the body off and drops what waits for the reader. */
  discard(): void {
    this.#discarded = true
  }

  /** Ends the body: cleanly when the stream was asked to end, else broken off. */
  finish(error: unknown): void {
    const clean = this.#stop.signal.aborted && !this.#discarded
    if (!this.#stop.signal.aborted) this.#stop.abort(error)
    this.held.close()
    if (!clean && !this.begun) {
      clearTimeout(this.#timer)
      this.#first.reject(error)
      return
    }
    this.#begin()
    this.#closing = clean
    if (clean) return this.write(this.#trailer() ?? new Uint8Array(0))
    this.#pieces.length = 0
    try {
      this.#controller?.error(error)
    } catch {
      // The receiver has gone.
    }
  }

  #begin(): void {
    clearTimeout(this.#timer)
    this.begun = true
    this.#first.resolve()
  }

  #give(): void {
    const piece = this.#asked ? this.#pieces.shift() : undefined
    try {
      if (piece) {
        this.#asked = false
        this.#waiting -= piece.length
        this.#taking = piece.length
        this.#controller?.enqueue(piece)
      } else if (this.#closing && this.#waiting === 0) this.#controller?.close()
    } catch {
      // The receiver has gone.
    }
    this.held.set('transport', this.#waiting + this.#taking)
  }
}
