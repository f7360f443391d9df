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
