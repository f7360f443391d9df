import type { Environment } from '../../durable-objects/environment.ts'
import type { StreamRequest } from '../../protocol/lines.ts'
import type { Session } from '../auth/token.ts'
import { bsonLines } from './bson-lines.ts'
import { boundedPorts } from '../stream/bounded.ts'
import { Budget, ended, streamSettings } from '../stream/budget.ts'
import { joinedLines } from './joined.ts'
import { Keepalive } from '../stream/keepalive.ts'
import { ndjsonLines, nestedLines } from './lines.ts'
import { BSON, negotiate } from './negotiate.ts'
import { objectPorts } from '../stream/objects.ts'
import { ResponseBody } from './response-body.ts'
import { ownerOf, runStream } from '../stream/stream.ts'

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
  const body = new ResponseBody(stop)
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
