/** A protocol on a WebSocket: native or RSocket. */
export interface SocketProtocol {
  receive(data: string | ArrayBuffer): void
  /** Called when the socket broke or the client closed it. */
  gone(): void
}
