import { RockpoolError } from '../../protocol/errors.ts'
import type { StreamRequest } from '../../protocol/lines.ts'
import type { OpId } from '../../protocol/ops.ts'
import { Emitter } from './emit.ts'
import type { StreamInput, StreamPorts, Upstream } from './ports.ts'
import type { StreamOwner } from './relay-order.ts'
import { Resolver } from './resolve.ts'
import { View } from './view.ts'

/** Whose stream it is, as a relay counts streams. */
export const ownerOf = ({ user }: { user: string }, { client_id }: StreamRequest): StreamOwner => ({ user, client: client_id ?? '' })

/**
 * One stream, until its receiver has gone: follows a relay, keeps lookups, buckets and subscription in agreement, and sends each checkpoint with
 * what the client lacks of it. It keeps nothing that the client does not send again when it reconnects.
 *
 * Rejects with PSYNC_S2305 when the client has too many buckets, with PSYNC_S2003 when the isolate has no room to know of them, and with the reason when `lines.signal` is aborted.
 */
export async function runStream(input: StreamInput, ports: StreamPorts): Promise<void> {
  const { signal } = ports.lines
  const view = new View(ports.tails)
  const resolver = new Resolver(input, ports, view)
  const emitter = new Emitter(ports, view, positionsOf(input.request))
  // They are in the positions now, and the request is kept for as long as the stream runs.
  delete input.request.buckets
  // Who has no room here is told before anything is asked of others for it.
  ports.know(view.bytesOf([]))
  let upstream: Upstream | null = null
  try {
    for (;;) {
      signal.throwIfAborted()
      if (upstream === null) {
        upstream = await connect(ports, view)
        if (upstream === null) continue
      }
      // To the newest: older checkpoints need not be told.
      while (upstream.waiting > 0) {
        const frame = await upstream.next()
        if (frame) view.apply(frame)
        else break
      }
      const resolved = await resolver.resolve(upstream)
      if (resolved) ports.served()
      if (resolved && !(await emitter.emit(resolved, upstream))) continue
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

/** A new socket, greeted. What is known of buckets stays: the relay tells all states again. */
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

/** A relay that has too many streams of this user will not think otherwise of this one; when all relays are full, or a bucket is fenced, the client comes back later. */
const isFinal = (error: unknown): boolean =>
  error instanceof RockpoolError && ['PSYNC_S2304', 'PSYNC_S2003', 'ROCKPOOL_BUCKET_FENCED'].includes(error.code)

/** Positions may be larger than any op that exists: they are lower bounds. */
function positionsOf(request: StreamRequest): Map<string, OpId> {
  return new Map((request.buckets ?? []).map(({ name, after }) => [name, Math.min(Number(after), Number.MAX_SAFE_INTEGER)]))
}
