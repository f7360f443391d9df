import { RockpoolError } from '../../protocol/errors.ts'

/** Returns the two ends of a new WebSocket. `client` goes into the response. */
export function socketPair(): { client: WebSocket; server: WebSocket } {
  const [client, server] = Object.values(new WebSocketPair())
  if (!client || !server) throw new RockpoolError('ROCKPOOL_INTERNAL', 'the runtime did not create a pair of sockets')
  return { client, server }
}

/** Sends, and ignores the error that a closed socket throws: its close event reports it. */
export function sendQuietly(socket: WebSocket, text: string): void {
  try {
    socket.send(text)
  } catch {
    // See above.
  }
}

/** Closes a socket that may be closed already. */
export function closeQuietly(socket: WebSocket, code = 1000, reason = ''): void {
  try {
    socket.close(code, reason)
  } catch {
    // See above.
  }
}
