import { connect, createServer, type Socket } from 'node:net'

/** Returns the parameters with which a startup packet is passed on, or in `refuse` the text of a FATAL error. */
export type Startup = (parameters: Map<string, string>) => { refuse: string } | { parameters: Map<string, string> }

export interface SourceProxy {
  port: number
  close(): Promise<void>
}

/** Starts a proxy for a Postgres without TLS that reads the startup packet and changes or refuses it, as poolers do. */
export async function startProxy(target: number, startup: Startup): Promise<SourceProxy> {
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    sockets.add(client)
    client.on('error', () => {})
    let head = Buffer.alloc(0)
    client.on('data', function receive(chunk: Buffer) {
      head = Buffer.concat([head, chunk])
      if (head.length < 8 || head.length < head.readUInt32BE(0)) return
      if (head.readUInt32BE(4) === 80_877_103) {
        head = Buffer.alloc(0)
        client.write('N')
        return
      }
      client.off('data', receive)
      const size = head.readUInt32BE(0)
      const answer = startup(parametersOf(head.subarray(8, size)))
      if ('refuse' in answer) return void client.end(fatal(answer.refuse))
      const upstream = connect(target, '127.0.0.1')
      sockets.add(upstream)
      upstream.on('error', () => client.destroy())
      client.on('close', () => upstream.destroy())
      upstream.write(Buffer.concat([packet(answer.parameters), head.subarray(size)]))
      client.pipe(upstream)
      upstream.pipe(client)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return {
    port: address.port,
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function parametersOf(bytes: Buffer): Map<string, string> {
  const texts = bytes.toString().split('\0')
  const parameters = new Map<string, string>()
  for (let i = 0; i + 1 < texts.length && texts[i] !== ''; i += 2) parameters.set(texts[i] ?? '', texts[i + 1] ?? '')
  return parameters
}

function packet(parameters: Map<string, string>): Buffer {
  const body = Buffer.from(`${[...parameters].flat().join('\0')}\0\0`)
  const head = Buffer.alloc(8)
  head.writeUInt32BE(body.length + 8, 0)
  head.writeUInt32BE(196_608, 4)
  return Buffer.concat([head, body])
}

function fatal(message: string): Buffer {
  const body = Buffer.from(`SFATAL\0VFATAL\0C08P01\0M${message}\0\0`)
  const head = Buffer.alloc(5)
  head.write('E')
  head.writeUInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}
