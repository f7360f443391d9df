import type { SyncLine } from '../../../protocol/lines.ts'
import { CLOSE_RECONNECT, CLOSE_UNAUTHORIZED, type ComparingLine } from '../../../protocol/native.ts'
import { ProblemError } from './problem.ts'
import { whyNotOpened } from './probe.ts'

/** The part of a WebSocket that the client uses. */
export interface Socket {
  readonly readyState: number
  onopen: (() => void) | null
  onmessage: ((event: { data: unknown }) => void) | null
  onclose: ((event: { code: number; reason: string }) => void) | null
  send(text: string): void
  close(): void
}

export type OpenSocket = (url: string) => Socket

const OPEN = 1

export interface ConnectionOptions {
  url: string
  /** Default: a WebSocket. */
  socket?: OpenSocket | undefined
  token: string
  /** Body of the request. */
  request: unknown
  signal: AbortSignal
  /** In order; the next one waits for the promise. */
  line(line: SyncLine | ComparingLine): Promise<void>
}

/** Bytes that may be under way to us: the server counts no more. */
const CREDIT = 640 * 1024
const CREDIT_STEP = 64 * 1024
/** Bytes of lines that wait here to be processed; beyond this no credit is given back. */
const QUEUE = 4 * 1024 * 1024
const encoder = new TextEncoder()
/** The server gives a sign of life every 20 s. */
const SILENCE_MS = 60_000
/** After sleep a connection that has been silent for so long is taken for dead: its end may never be heard of. */
const STALE_MS = 25_000

/**
 * One WebSocket from open to close. Resolves when the server asks to connect again, or `signal` is aborted; throws
 * ProblemError otherwise.
 */
export class Connection {
  readonly #options: ConnectionOptions
  readonly #over = Promise.withResolvers<void>()
  #socket: Socket | null = null
  #heard = Date.now()

  constructor(options: ConnectionOptions) {
    this.#options = options
    // It may fail when nobody waits for it any more.
    this.#over.promise.catch(() => {})
  }

  /** Renews the authorisation. */
  renew(token: string): void {
    this.#send({ token })
  }

  /** The device may have slept. */
  check(): void {
    if (Math.abs(Date.now() - this.#heard) > STALE_MS)
      this.fail(new ProblemError('network', 'the connection is older than the sleep of this device'))
  }

  fail(error: ProblemError): void {
    this.#over.reject(error)
  }

  async run(): Promise<void> {
    const { url, signal } = this.#options
    // Stopped before it began: its event has been.
    if (signal.aborted) return
    const { socket: open = openWebSocket } = this.#options
    const socket = open(`${url.replace(/^http/, 'ws').replace(/\/+$/, '')}/sync/stream`)
    this.#socket = socket
    const over = this.#over
    let work = Promise.resolve()
    let received = 0
    let queued = 0
    const giveBack = (): void => {
      if (received < CREDIT_STEP || queued >= QUEUE) return
      this.#send({ credit: received })
      received = 0
    }
    let problem: ProblemError | null = null
    let opened = false
    let timer: ReturnType<typeof setTimeout>
    const alive = (): void => {
      clearTimeout(timer)
      this.#heard = Date.now()
      timer = setTimeout(() => over.reject(new ProblemError('network', 'the server is silent')), SILENCE_MS)
    }
    const stop = (): void => over.resolve()
    signal.addEventListener('abort', stop)
    alive()
    socket.onopen = () => {
      opened = true
      this.#send({ open: this.#options.request, token: this.#options.token, credit: CREDIT, joined: true })
    }
    socket.onmessage = ({ data }) => {
      alive()
      if (typeof data !== 'string') return
      const bytes = encoder.encode(data).length
      received += bytes
      queued += bytes
      giveBack()
      work = work.then(async () => {
        for (const text of data.split('\n')) {
          if (signal.aborted) return
          const line = parse(text)
          if ('error' in line) {
            problem = new ProblemError(line.error.code, line.error.message)
            return
          }
          await this.#options.line(line)
        }
        queued -= bytes
        giveBack()
      })
      work.catch((error: unknown) => over.reject(error))
    }
    socket.onclose = ({ code, reason }) => {
      // A browser says of a WebSocket that could not be opened as good as nothing.
      if (!opened) return void whyNotOpened(url, signal).then((why) => over.reject(why))
      work.then(
        () => {
          if (code === CLOSE_RECONNECT) over.resolve()
          else if (problem) over.reject(problem)
          else if (code === CLOSE_UNAUTHORIZED) over.reject(new ProblemError('auth', reason || 'the token was refused'))
          else over.reject(new ProblemError('network', reason || `the connection was closed (${code})`))
        },
        () => {},
      )
    }
    try {
      await over.promise
    } finally {
      clearTimeout(timer!)
      signal.removeEventListener('abort', stop)
      socket.onmessage = null
      socket.onclose = null
      socket.close()
      await work.catch(() => {})
    }
  }

  #send(frame: unknown): void {
    if (this.#socket?.readyState === OPEN) this.#socket.send(JSON.stringify(frame))
  }
}

/** A WebSocket passes its handlers whole events. The compiler does not accept that in place of the parts we use. */
const openWebSocket: OpenSocket = (url) => new WebSocket(url) as Socket

function parse(text: string): SyncLine | ComparingLine | { error: { code: string; message: string } } {
  try {
    const line: SyncLine | ComparingLine | { error: { code: string; message: string } } = JSON.parse(text)
    return line
  } catch (cause) {
    throw new ProblemError('protocol', 'the server sent something that is not JSON', { cause })
  }
}
