import type { Environment } from '../../durable-objects/environment.ts'
import type { StreamRequest } from '../../protocol/lines.ts'
import type { Session } from '../auth/token.ts'
import { bsonLines } from './bson-lines.ts'
import { boundedPorts } from './bounded.ts'
import { Budget, ended, streamSettings } from './budget.ts'
import { Held } from './held.ts'
import { joinedLines } from './joined.ts'
import { Keepalive } from './keepalive.ts'
import { FIRST_LINE_SECONDS, RESPONSE_BUFFER_BYTES } from './limits.ts'
import { ndjsonLines, nestedLines } from './lines.ts'
import { BSON, negotiate } from './negotiate.ts'
import { objectPorts } from './objects.ts'
import { ownerOf, runStream } from './stream.ts'

/**
 * `POST /sync/stream`: an endless body of lines, in the form that `accept` prefers. The reader's pull paces it. What goes wrong before the first line
 * rejects; after it there is no line for errors, and the body breaks.
 */
export async function streamResponse(
  env: Environment,
  tenant: string,
  session: Session,
  request: StreamRequest,
  accept: string | undefined,
): Promise<Response> {
  const type = negotiate(accept)
  const encoder = type === BSON ? bsonLines : request.raw_data === true ? ndjsonLines : nestedLines
  const limits = streamSettings(env)
  const stop = new AbortController()
  const body = new Body(stop)
  const budget = new Budget(limits, () => stop.abort(ended('the stream has used up its budget')))
  const keepalive = new Keepalive(session.expires, {
    // Behind what waits for the reader there is no need for a sign of life.
    tell: (seconds) => {
      if (!stop.signal.aborted && (seconds === 0 || body.hasRoom)) body.write(encoder.line({ token_expires_in: seconds }))
    },
    expired: () => stop.abort(ended('the token has expired')),
  })
  const write = async (bytes: Uint8Array): Promise<void> => {
    await body.room()
    budget.bytes(bytes.length)
    body.write(bytes)
  }
  const lines = joinedLines(encoder, (each) => Buffer.concat(each), { signal: stop.signal, room: () => body.room(), write })
  void body.held.ended.then((why) => {
    body.discard()
    stop.abort(ended(why))
  })
  const ports = boundedPorts(objectPorts(env, tenant, ownerOf(session, request), lines, budget, body.held), body.held)
  runStream({ request, claims: session.claims, user: session.user }, ports).catch((error: unknown) => {
    keepalive.stop()
    if (!stop.signal.aborted && body.begun) console.error('a stream failed', error)
    body.finish(error)
  })
  await body.first
  return new Response(body.readable, {
    headers: {
      'content-type': type,
      'x-accel-buffering': 'no',
      'content-encoding': 'identity',
    },
  })
}

/**
 * A response body that is written to, and read at the reader's pace. It is given to the runtime in pieces, each when that asks for it, which it does when the
 * one before is written: a queue of the stream's own would count nothing of what is being written, 400 KB for each client.
 */
class Body {
  readonly readable: ReadableStream<Uint8Array>
  readonly held = new Held()
  /** Resolves when the body has begun, or has been waited for long enough. Rejects with what went wrong before. */
  readonly first: Promise<void>
  begun = false
  readonly #stop: AbortController
  readonly #first = Promise.withResolvers<void>()
  readonly #timer: ReturnType<typeof setTimeout>
  readonly #pieces: Uint8Array[] = []
  /** Bytes of the pieces, and of the one that is being written. */
  #waiting = 0
  #taking = 0
  #asked = false
  #closing = false
  #controller: ReadableStreamDefaultController<Uint8Array> | null = null
  #room: () => void = () => {}
  #discarded = false

  constructor(stop: AbortController) {
    this.#stop = stop
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

  /** Does not wait: whole lines only. */
  write(bytes: Uint8Array): void {
    // Copies: a piece that is a view would keep all of the bytes until the last one is written.
    if (bytes.length <= RESPONSE_BUFFER_BYTES) this.#pieces.push(bytes)
    else for (let at = 0; at < bytes.length; at += RESPONSE_BUFFER_BYTES) this.#pieces.push(bytes.slice(at, at + RESPONSE_BUFFER_BYTES))
    this.#waiting += bytes.length
    this.#give()
    this.#begin()
  }

  /** What waits for the reader is not kept for it: the body ends broken. */
  discard(): void {
    this.#discarded = true
  }

  /** A clean end when the stream was told to end, else a broken one. */
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
    if (clean) return this.#give()
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
