/** What the two protocols make of a socket. */
export interface SocketProtocol {
  receive(data: string | ArrayBuffer): void
  /** The socket has fallen or was closed by the client. */
  gone(): void
}
