import type { Environment } from '../../../durable-objects/environment.ts'
import type { Tenant } from '../../../tenants/tenant.ts'
import { ended } from '../../../workers/stream/budget.ts'
import { Held } from '../../../workers/stream/held.ts'
import type { Caller } from '../../../workers/auth/token.ts'
import { openStream } from '../../../workers/stream/open-stream.ts'
import { textLines } from '../../../workers/transports/lines.ts'
import type { Transport } from '../../../workers/transports/transport.ts'

/** A fourth transport: server-sent events. */
export function eventStream(env: Environment, tenant: Tenant, caller: Caller): Response {
  const stop = new AbortController()
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>()
  const writer = writable.getWriter()
  writer.closed.catch(() => stop.abort(ended('the receiver has gone')))
  const write = (line: string) => void writer.write(new TextEncoder().encode(`data: ${line}\n\n`)).catch(() => {})
  const room = () => Promise.resolve(writer.ready).then(() => stop.signal.throwIfAborted())
  const transport: Transport<string> = {
    signal: stop.signal,
    encoder: textLines,
    join: null,
    held: new Held(),
    keepalive: true,
    room,
    ready: room,
    write,
    expires: (seconds) => write(JSON.stringify({ token_expires_in: seconds })),
    end: ({ error }) => stop.abort(error),
  }
  openStream(env, tenant, caller, { raw_data: true }, transport).done.catch(() => {
    transport.held.close()
    void writer.close().catch(() => {})
  })
  return new Response(readable, { headers: { 'content-type': 'text/event-stream' } })
}
