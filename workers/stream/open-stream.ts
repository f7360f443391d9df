import type { Environment } from '../../durable-objects/environment.ts'
import { RockpoolError } from '../../protocol/errors.ts'
import type { StreamRequest } from '../../protocol/lines.ts'
import type { Tenant } from '../../tenants/tenant.ts'
import { markOf, sameAuthorization, type Caller } from '../auth/token.ts'
import type { Encoded, Transport } from '../transports/transport.ts'
import { boundedPorts } from './bounded.ts'
import { Budget, ended } from './budget.ts'
import { joinedLines, singleLines } from './joined.ts'
import { Keepalive } from './keepalive.ts'
import { objectPorts } from './objects.ts'
import type { LineSink, StreamInput } from './ports.ts'
import { ownerOf, runStream } from './stream.ts'
import { tenantPart } from '../shares/tenant-part.ts'

export interface OpenStream {
  /** Rejects with the reason when the stream has ended. It never resolves. */
  readonly done: Promise<void>
  /** Whole seconds until the token expires, or 0 when it has. */
  readonly expiresIn: number
  /**
   * Continues the stream with another token of the same user, once an object has found that it was not revoked. With
   * other claims its buckets are evaluated again, and differences follow as a diff. Rejects when the stream ends.
   */
  renew(caller: Caller): Promise<void>
}

/**
 * Opens one stream of a tenant over a transport. Budget, keepalive, held bytes, joined lines and object ports are
 * assembled here and nowhere else.
 */
export function openStream<T extends Encoded>(
  env: Environment,
  tenant: Tenant,
  caller: Caller,
  request: StreamRequest,
  transport: Transport<T>,
): OpenStream {
  const { signal, held } = transport
  held.belongTo(tenant.name, tenantPart(env))
  const budget = new Budget(tenant.streams, () =>
    transport.end({ kind: 'spent', error: ended('the stream has used up its budget') }),
  )
  const keepalive = new Keepalive(
    caller.expires,
    {
      tell: (seconds) => transport.expires(seconds),
      expired: () => transport.end({ kind: 'expired', error: ended('the token has expired') }),
    },
    transport.keepalive,
  )
  signal.addEventListener('abort', () => keepalive.stop())
  void held.ended.then((why) => transport.end({ kind: 'held', error: ended(why) }))
  const input: StreamInput = { request, claims: caller.claims, user: caller.user }
  let hasBegun = false
  const objects = objectPorts(
    env,
    tenant,
    { ...ownerOf(caller, request), sdk: transport.agent },
    linesOf(transport, budget, () => (hasBegun = true)),
    budget,
    held,
    (fraction) => transport.comparing?.(fraction),
  )
  const ports = boundedPorts(objects, held)
  let current = caller
  return {
    done: runStream(input, ports)
      .catch((error: unknown) => {
        // Over HTTP an error has no line, so that a client would come back with the same token.
        if (hasBegun && transport.keepalive && isOfRevoked(error)) transport.expires(0)
        throw error
      })
      .finally(() => keepalive.stop()),
    get expiresIn() {
      return keepalive.left
    },
    renew: async (renewed) => {
      if (!(await objects.renew(markOf(renewed)))) return
      keepalive.renew(renewed.expires)
      const isSame = sameAuthorization(renewed, current)
      current = renewed
      if (isSame) return
      input.claims = renewed.claims
      objects.again()
    },
  }
}

const isOfRevoked = (error: unknown): boolean => error instanceof RockpoolError && error.code === 'PSYNC_S2107'

/** Encodes, joins and counts lines on their way to the transport. */
function linesOf<T extends Encoded>(transport: Transport<T>, budget: Budget, begun: () => void): LineSink {
  const { signal, encoder, join } = transport
  const write = async (lines: T): Promise<void> => {
    const bytes = typeof lines === 'string' ? Buffer.byteLength(lines) : lines.length
    await transport.ready(bytes)
    budget.bytes(bytes)
    transport.write(lines, bytes)
    begun()
  }
  const output = { signal, room: () => transport.room(), write }
  const lines = join ? joinedLines(encoder, join, output) : singleLines(encoder, output)
  return {
    ...lines,
    data: async (line) => {
      for (const piece of transport.pieces?.(line) ?? [line]) await lines.data(piece)
    },
  }
}
