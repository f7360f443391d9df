import type { Environment } from '../../durable-objects/environment.ts'
import type { StreamRequest } from '../../protocol/lines.ts'
import type { Session } from '../auth/token.ts'
import { Budget, ended } from './budget.ts'
import { Keepalive } from './keepalive.ts'
import { RESPONSE_BUFFER_BYTES } from './limits.ts'
import { dataText, lineText } from './lines.ts'
import { objectPorts } from './objects.ts'
import { runStream } from './stream.ts'

/** `POST /sync/stream`: an endless body of lines. The reader's pull paces it. */
export function streamResponse(env: Environment, tenant: string, session: Session, request: StreamRequest): Response {
  const stop = new AbortController()
  const encoder = new TextEncoder()
  let room: () => void = () => {}
  let controller: ReadableStreamDefaultController<Uint8Array> | null = null
  const budget = new Budget(() => stop.abort(ended('the stream has used up its budget')))

  const body = new ReadableStream<Uint8Array>(
    {
      start: (given) => {
        controller = given
      },
      pull: () => room(),
      cancel: () => stop.abort(ended('the receiver has gone')),
    },
    new ByteLengthQueuingStrategy({ highWaterMark: RESPONSE_BUFFER_BYTES }),
  )
  const enqueue = (text: string): void => {
    const bytes = encoder.encode(`${text}\n`)
    budget.bytes(bytes.length)
    controller?.enqueue(bytes)
  }
  const write = async (text: string): Promise<void> => {
    while (!stop.signal.aborted && (controller?.desiredSize ?? 0) <= 0) await new Promise<void>((resolve) => (room = resolve))
    stop.signal.throwIfAborted()
    enqueue(text)
  }
  stop.signal.addEventListener('abort', () => room())

  const keepalive = new Keepalive(session.expires, {
    // Behind what waits for the reader there is no need for a sign of life.
    tell: (seconds) => {
      if (!stop.signal.aborted && (seconds === 0 || (controller?.desiredSize ?? 0) > 0)) enqueue(lineText({ token_expires_in: seconds }))
    },
    expired: () => stop.abort(ended('the token has expired')),
  })
  const lines = {
    signal: stop.signal,
    send: (line: Parameters<typeof lineText>[0]) => write(lineText(line)),
    data: (line: Parameters<typeof dataText>[0]) => write(dataText(line)),
  }
  const finish = (error?: unknown): void => {
    keepalive.stop()
    // After the first byte there is no line for errors: a clean end when there is nothing to complain about, else a broken one.
    try {
      if (stop.signal.aborted) controller?.close()
      else controller?.error(error)
    } catch {
      // The receiver has gone.
    }
    if (!stop.signal.aborted) stop.abort(error)
  }
  runStream({ request, claims: session.claims, user: session.user }, objectPorts(env, tenant, lines, budget)).then(
    () => finish(ended('the stream is over')),
    (error: unknown) => {
      if (!stop.signal.aborted) console.error('a stream failed', error)
      finish(error)
    },
  )
  return new Response(body, {
    headers: {
      'content-type': 'application/x-ndjson',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
      'content-encoding': 'identity',
    },
  })
}
