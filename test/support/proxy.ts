import { connect, createServer, type Socket } from 'node:net'

export interface Proxy {
  readonly port: number
  /** Stops passing on bytes in both directions without refusing them, like a network that has lost a route. */
  stall(): void
  /** Passes on everything that waited. */
  resume(): void
  /**
   * Closes connections to clients but keeps those to the server, which does not notice that the clients have gone. New
   * connections are served.
   */
  abandon(): void
  /** Cuts all connections and sends new ones to another port, as a host does with its name at a failover. */
  redirect(target: number): void
  close(): Promise<void>
}

/** Starts a TCP proxy from the loopback interface to one of its ports. */
export async function startProxy(port: number): Promise<Proxy> {
  let target = port
  const pairs = new Set<{ client: Socket; server: Socket; abandoned: boolean }>()
  let stalled = false
  const listener = createServer((client) => {
    const server = connect(target, '127.0.0.1')
    const pair = { client, server, abandoned: false }
    pairs.add(pair)
    const end = () => {
      if (pair.abandoned) return
      pairs.delete(pair)
      client.destroy()
      server.destroy()
    }
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      from.on('data', (bytes) => {
        if (!pair.abandoned) to.write(bytes)
      })
      from.on('close', end)
      from.on('error', end)
    }
    if (stalled) pause(pair)
  })
  const pause = ({ client, server }: { client: Socket; server: Socket }) => {
    client.pause()
    server.pause()
  }
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  const address = listener.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return {
    port: address.port,
    stall() {
      stalled = true
      pairs.forEach(pause)
    },
    resume() {
      stalled = false
      for (const { client, server } of pairs) {
        client.resume()
        server.resume()
      }
    },
    abandon() {
      for (const pair of pairs) {
        pair.abandoned = true
        pair.client.destroy()
        pair.server.pause()
      }
    },
    redirect(next) {
      target = next
      for (const { client, server } of pairs) {
        client.destroy()
        server.destroy()
      }
    },
    async close() {
      for (const { client, server } of pairs) {
        client.destroy()
        server.destroy()
      }
      await new Promise((resolve) => listener.close(resolve))
    },
  }
}
