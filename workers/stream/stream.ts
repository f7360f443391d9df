import { RockpoolError } from '../../protocol/errors.ts'
import type { StreamRequest } from '../../protocol/lines.ts'
import type { OpId } from '../../protocol/ops.ts'
import { markOf, type Caller } from '../auth/token.ts'
import { Emitter } from './emit.ts'
import type { StreamInput, StreamPorts, Upstream } from './ports.ts'
import type { StreamOwner } from './relay-order.ts'
import { Resolver } from './resolve.ts'
import { View } from './view.ts'

/** Whose stream it is, for the relay that counts streams and refuses tokens that were revoked. */
export const ownerOf = (caller: Caller, { client_id }: StreamRequest): StreamOwner => ({
  user: caller.user,
  client: client_id ?? '',
  token: markOf(caller, client_id ?? ''),
})

/**
 * Runs one stream until its receiver has gone: it follows a relay, keeps lookups, buckets and subscription consistent,
 * and sends each checkpoint with what the client lacks. It keeps no state that the client does not send again when it
 * reconnects.
 *
 * Rejects with PSYNC_S2305 when the client has too many buckets, with PSYNC_S2003 when the isolate has no room for
 * their states, and with the reason when `lines.signal` is aborted.
 */
export async function runStream(input: StreamInput, ports: StreamPorts): Promise<void> {
  const { signal } = ports.lines
  const view = new View(ports.tails)
  const resolver = new Resolver(input, ports, view)
  const emitter = new Emitter(ports, view, positionsOf(input.request))
  // The positions have them now. The request would keep them in memory for as long as the stream runs.
  delete input.request.buckets
  // A stream that has no room here is refused before it costs a call to an object.
  ports.know(view.bytesOf([]))
  let upstream: Upstream | null = null
  try {
    for (;;) {
      signal.throwIfAborted()
      if (upstream === null) {
        upstream = await connect(ports, view)
        if (upstream === null) continue
      }
      // Skip to the newest message: older checkpoints need not be announced.
      while (upstream.waiting > 0) {
        const frame = await upstream.next()
        if (frame) view.apply(frame)
        else break
      }
      const resolved = await resolver.resolve(upstream)
      if (resolved) ports.served()
      if (resolved && (await emitter.emit(resolved, upstream)) === 'interrupted') continue
      if (upstream.waiting > 0) continue
      const frame = await upstream.next()
      if (frame) view.apply(frame)
      else {
        upstream.close()
        upstream = null
      }
    }
  } finally {
    upstream?.close()
  }
}

/**
 * Opens a new socket and waits for its greeting. The known states of buckets stay, and the relay sends all of them
 * again.
 */
async function connect(ports: StreamPorts, view: View): Promise<Upstream | null> {
  for (let attempt = 1; ; attempt++) {
    ports.lines.signal.throwIfAborted()
    try {
      const upstream = await ports.connect()
      const hello = await upstream.next()
      if (hello) {
        view.unsubscribed(hello.form)
        view.apply(hello)
        return upstream
      }
      upstream.close()
    } catch (error) {
      if (ports.lines.signal.aborted || isFinal(error)) throw error
    }
    await ports.pause(attempt)
  }
}

const FINAL: readonly string[] = [
  'PSYNC_S2304',
  'ROCKPOOL_LIMIT',
  'PSYNC_S2003',
  'ROCKPOOL_BUCKET_FENCED',
  'PSYNC_S2002',
  'PSYNC_S2107',
]

/**
 * Returns whether a retry is pointless: there are too many streams of this user or tenant, all relays are full, a
 * bucket is fenced, the tenant is not served, or the token was revoked. The client comes back later.
 */
const isFinal = (error: unknown): boolean => error instanceof RockpoolError && FINAL.includes(error.code)

/** Returns the positions that a client sent. They may be larger than any existing op, because they are lower bounds. */
function positionsOf(request: StreamRequest): Map<string, OpId> {
  return new Map(
    (request.buckets ?? []).map(({ name, after }) => [name, Math.min(Number(after), Number.MAX_SAFE_INTEGER)]),
  )
}
