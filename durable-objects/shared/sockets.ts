import { RockpoolError } from '../../protocol/errors.ts'

/** The two ends of a new WebSocket: `client` goes into the response. */
export function socketPair(): { client: WebSocket; server: WebSocket } {
  const [client, server] = Object.values(new WebSocketPair())
  if (!client || !server) throw new RockpoolError('ROCKPOOL_INTERNAL', 'the runtime made no pair of sockets')
  return { client, server }
}

/** A socket that has fallen throws when it is used; its close event says so. */
export function sendQuietly(socket: WebSocket, text: string): void {
  try {
    socket.send(text)
  } catch {
    // See above.
  }
}

/** The same for one that may be closed already. */
export function closeQuietly(socket: WebSocket, code = 1000, reason = ''): void {
  try {
    socket.close(code, reason)
  } catch {
    // See above.
  }
}
