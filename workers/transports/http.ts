import type { Environment } from '../../durable-objects/environment.ts'
import type { StreamRequest } from '../../protocol/lines.ts'
import type { Tenant } from '../../tenants/tenant.ts'
import type { Caller } from '../auth/token.ts'
import { openStream } from '../stream/open-stream.ts'
import { bsonLines } from './bson-lines.ts'
import { compressorFor, type Asked } from './compression/accepted.ts'
import { compressedLines } from './compression/lines.ts'
import { ndjsonLines, nestedLines } from './lines.ts'
import { BSON, negotiate } from './negotiate.ts'
import { ResponseBody } from './response-body.ts'
import { agentOf } from './agent.ts'
import type { Transport } from './transport.ts'

/**
 * `POST /sync/stream`: an endless body of lines, in the form and with the compression that the client accepts, sent at
 * the reader's pace. An error before the first line rejects. The protocol has no line for later errors, so the body
 * breaks off.
 */
export async function streamResponse(
  env: Environment,
  tenant: Tenant,
  caller: Caller,
  request: StreamRequest,
  asked: Asked,
): Promise<Response> {
  const type = negotiate(asked.headers.get('accept'))
  const compressor = tenant.streams.compression ? compressorFor(asked) : null
  const lines = type === BSON ? bsonLines : request.raw_data === true ? ndjsonLines : nestedLines
  const { encoder, encode } = compressor
    ? compressedLines(lines, compressor)
    : { encoder: lines, encode: (bytes: Uint8Array) => bytes }
  const stop = new AbortController()
  const body = new ResponseBody(stop, () => compressor?.end())
  const transport: Transport<Uint8Array> = {
    signal: stop.signal,
    encoder,
    join: (parts) => Buffer.concat(parts),
    held: body.held,
    keepalive: true,
    agent: agentOf(asked.headers),
    room: () => body.room(),
    ready: () => body.room(),
    write: (bytes) => body.write(encode(bytes)),
    // The reader has data to read, so it needs no keepalive.
    expires: (seconds) => {
      if (!stop.signal.aborted && (seconds === 0 || body.hasRoom))
        body.write(encode(encoder.line({ token_expires_in: seconds })))
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
    // The runtime would compress the body itself, and could not flush a line.
    encodeBody: 'manual',
    headers: {
      'content-type': type,
      'x-accel-buffering': 'no',
      'content-encoding': compressor?.encoding ?? 'identity',
      vary: 'accept, accept-encoding',
    },
  })
}
