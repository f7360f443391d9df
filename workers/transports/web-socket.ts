import type { Environment } from '../../durable-objects/environment.ts'
import { socketPair } from '../../durable-objects/shared/sockets.ts'
import { CLOSE_BAD_FRAME } from '../../protocol/native.ts'
import type { Tenant } from '../../tenants/tenant.ts'
import { addressOf } from '../rates.ts'
import { FIRST_FRAME_SECONDS } from '../stream/limits.ts'
import { agentOf } from './agent.ts'
import { NativeStream } from './native.ts'
import { RSocketConnection } from './rsocket/connection.ts'
import type { SocketProtocol } from './socket-protocol.ts'

/**
 * The WebSocket of `/sync/stream`. A binary first frame begins RSocket, which PowerSync SDKs use; a text frame begins
 * our own protocol.
 */
export function webSocketStream(env: Environment, tenant: Tenant, asked: Request): Response {
  const address = addressOf(asked.headers)
  const agent = agentOf(asked.headers)
  const { client, server } = socketPair()
  server.binaryType = 'arraybuffer'
  server.accept()
  let protocol: SocketProtocol | null = null
  const late = setTimeout(() => {
    const message = `no first frame arrived within ${FIRST_FRAME_SECONDS} seconds`
    server.send(JSON.stringify({ error: { code: 'ROCKPOOL_CLIENT_FRAME', message } }))
    server.close(CLOSE_BAD_FRAME, 'ROCKPOOL_CLIENT_FRAME')
  }, FIRST_FRAME_SECONDS * 1_000)
  server.addEventListener('message', ({ data }) => {
    if (typeof data !== 'string' && !(data instanceof ArrayBuffer)) return
    clearTimeout(late)
    protocol ??=
      typeof data === 'string'
        ? new NativeStream(env, tenant, server, address, agent)
        : new RSocketConnection(env, tenant, server, address, agent)
    protocol.receive(data)
  })
  const gone = () => {
    clearTimeout(late)
    protocol?.gone()
  }
  server.addEventListener('close', gone)
  server.addEventListener('error', gone)
  return new Response(null, { status: 101, webSocket: client })
}
