import { sign } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { ContentType } from '../../sources/postgres/tls/parameters.ts'
import { concat, type Bytes } from '../../sources/postgres/tls/wire.ts'
import type { Made } from '../../sources/postgres/tls/chain/test-authority.ts'
import type { Credentials } from './credentials.ts'
import { TestServer } from './server.ts'
import { socketEnd } from './socket-end.ts'

/** Bytes of a record: rows and messages begin and end anywhere in them. */
const RECORD_BYTES = 300

export interface RenewingProxy {
  readonly port: number
  /** Changes of the server's keys, and of ours because it wanted that. */
  renewed(): { server: number; client: number }
  close(): Promise<void>
}

/**
 * Ends TLS 1.3 before a Postgres in plain text, with other keys every `every` records: no server of OpenSSL renews them
 * when it is told. Every other change is wanted of the client too.
 */
export async function startRenewingProxy(target: number, made: Made, every: number): Promise<RenewingProxy> {
  const credentials: Credentials = {
    scheme: 0x0403,
    certificate: new Uint8Array(made.der),
    sign: async (content) => new Uint8Array(sign('sha256', content, made.keys.privateKey)),
  }
  const renewed = { server: 0, client: 0 }
  const sockets = new Set<Socket>()
  const listener = createServer((client) => {
    const upstream = connect(target, '127.0.0.1')
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket
        .on('error', () => {})
        .on('close', () => [client, upstream].forEach((each) => (sockets.delete(each), each.destroy())))
    }
    void serve(client, upstream).catch(() => client.destroy())
  })

  async function serve(client: Socket, upstream: Socket): Promise<void> {
    const end = socketEnd(client)
    // SSLRequest
    if (!(await end.read(8))) return
    end.write(new Uint8Array([0x53]))
    const server = new TestServer(end, credentials)
    if (!(await server.accept())) return
    await Promise.all([toServer(server, upstream), toClient(server, client, upstream)])
  }

  async function toServer(server: TestServer, upstream: Socket): Promise<void> {
    for (let record = await server.record(); record?.type !== ContentType.alert; record = await server.record()) {
      if (!record) break
      if (record.type === ContentType.applicationData) upstream.write(record.data)
      else {
        renewed.client++
        server.opening = (await server.opening?.next?.()) ?? null
      }
    }
    upstream.end()
  }

  async function toClient(server: TestServer, client: Socket, upstream: Socket): Promise<void> {
    let sent = 0
    for await (const chunk of upstream as AsyncIterable<Buffer>) {
      const records: Bytes[] = []
      for (let at = 0; at < chunk.length; at += RECORD_BYTES) {
        if (++sent % every === 0) records.push(await server.update(++renewed.server % 2 === 0))
        records.push(
          await server.sealed(ContentType.applicationData, new Uint8Array(chunk.subarray(at, at + RECORD_BYTES))),
        )
      }
      if (!client.write(concat(...records))) await Promise.race([once(client, 'drain'), once(client, 'close')])
    }
    await server.send(ContentType.alert, new Uint8Array([1, 0]))
    client.end()
  }

  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  return {
    port: (listener.address() as AddressInfo).port,
    renewed: () => ({ ...renewed }),
    async close() {
      sockets.forEach((socket) => socket.destroy())
      await new Promise((resolve) => listener.close(resolve))
    },
  }
}
