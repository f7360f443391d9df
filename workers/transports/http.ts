import type { Environment } from '../../durable-objects/environment.ts'
import type { StreamRequest } from '../../protocol/lines.ts'
import type { Tenant } from '../../tenants/tenant.ts'
import type { Session } from '../auth/token.ts'
import { openStream } from '../stream/open-stream.ts'
import { bsonLines } from './bson-lines.ts'
import { ndjsonLines, nestedLines } from './lines.ts'
import { BSON, negotiate } from './negotiate.ts'
import { ResponseBody } from './response-body.ts'
import type { Transport } from './transport.ts'

/**
 * `POST /sync/stream`: an endless body of lines, in the form that `accept` prefers. The reader's pull paces it. What goes wrong before the first line
 * rejects; after it there is no line for errors, and the body breaks.
 */
export async function streamResponse(
  env: Environment,
  tenant: Tenant,
  session: Session,
  request: StreamRequest,
  accept: string | undefined,
): Promise<Response> {
  const type = negotiate(accept)
  const encoder = type === BSON ? bsonLines : request.raw_data === true ? ndjsonLines : nestedLines
  const stop = new AbortController()
  const body = new ResponseBody(stop)
  const transport: Transport<Uint8Array> = {
    signal: stop.signal,
    encoder,
    join: (lines) => Buffer.concat(lines),
    held: body.held,
    keepalive: true,
    room: () => body.room(),
    ready: () => body.room(),
    write: (lines) => body.write(lines),
    // After what waits for the reader there is no need for a sign of life.
    expires: (seconds) => {
      if (!stop.signal.aborted && (seconds === 0 || body.hasRoom)) body.write(encoder.line({ token_expires_in: seconds }))
    },
    end: ({ kind, error }) => {
      if (kind === 'held') body.discard()
      stop.abort(error)
    },
  }
  openStream(env, tenant, session, request, transport).done.catch((error: unknown) => {
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
