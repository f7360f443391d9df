import { connect, createServer, type Server, type Socket } from 'node:net'

/** A TCP proxy in front of Postgres whose connections can be cut, or left hanging, as a network does. */
export class Proxy {
  readonly #server: Server
  readonly #pairs = new Set<[Socket, Socket]>()
  #target: number
  #port = 0

  constructor(target: number) {
    this.#target = target
    this.#server = createServer((socket) => this.#accept(socket))
  }

  get port(): number {
    return this.#port
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(0, '127.0.0.1', resolve)
    })
    const address = this.#server.address()
    if (address && typeof address === 'object') this.#port = address.port
  }

  #accept(socket: Socket): void {
    const upstream = connect(this.#target, '127.0.0.1')
    const pair: [Socket, Socket] = [socket, upstream]
    this.#pairs.add(pair)
    const end = () => {
      this.#pairs.delete(pair)
      socket.destroy()
      upstream.destroy()
    }
    for (const each of pair) {
      each.setNoDelay(true)
      each.on('error', end)
      each.on('close', end)
    }
    socket.pipe(upstream)
    upstream.pipe(socket)
  }

  /** Every connection falls, in the middle of whatever it carries. */
  cut(): void {
    for (const [a, b] of [...this.#pairs]) {
      a.resetAndDestroy()
      b.resetAndDestroy()
    }
  }

  /** Nothing passes for a while; then everything goes on. */
  async hang(milliseconds: number): Promise<void> {
    const pairs = [...this.#pairs]
    for (const [a, b] of pairs) {
      a.unpipe(b)
      b.unpipe(a)
      a.pause()
      b.pause()
    }
    await new Promise((resolve) => setTimeout(resolve, milliseconds))
    for (const pair of pairs) {
      if (!this.#pairs.has(pair)) continue
      pair[0].pipe(pair[1])
      pair[1].pipe(pair[0])
    }
  }

  async close(): Promise<void> {
    this.cut()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}
