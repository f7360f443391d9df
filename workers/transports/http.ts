import type { Environment } from '../../durable-objects/environment.ts'
import type { StreamRequest } from '../../protocol/lines.ts'
import type { Tenant } from '../../tenants/tenant.ts'
import type { Caller } from '../auth/token.ts'
import { openStream } from '../stream/open-stream.ts'
import { bsonLines } from './bson-lines.ts'
import { ndjsonLines, nestedLines } from './lines.ts'
import { BSON, negotiate } from './negotiate.ts'
import { ResponseBody } from './response-body.ts'
import type { Transport } from './transport.ts'

/**
 * `POST /sync/stream`: an endless body of lines, in the form that `accept` prefers, sent at the reader's pace. An error before the first line
 * rejects. The protocol has no line for later errors, so the body breaks off.
 */
export async function streamResponse(
  env: Environment,
  tenant: Tenant,
  caller: Caller,
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
    // The reader has data to read, so it needs no keepalive.
    expires: (seconds) => {
      if (!stop.signal.aborted && (seconds === 0 || body.hasRoom)) body.write(encoder.line({ token_expires_in: seconds }))
    },
    end: ({ kind, error }) => {
      if (kind === 'held') body.discard()
      stop.abort(error)
    },
  }
  openStream(env, tenant, caller, request, transport).done.catch((error: unknown) => {
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
